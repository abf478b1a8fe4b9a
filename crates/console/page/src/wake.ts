// When a page, its device or its network is there again.
//
// A laptop that sleeps, a phone whose screen is locked and a tab that the browser has frozen run no timers, and their lines break
// without a word as often as with one.

/** How often it is looked whether time has passed unseen. */
const TURN_MS = 10_000;

/** More than the minute between two timers of a page that was hidden for long (Chromium's intensive throttling). */
const STOOD_STILL_MS = 90_000;

/** What is needed of a window, its document and its device. */
export interface Surroundings {
  addEventListener(type: "online" | "offline" | "pagehide" | "pageshow", listener: (event: Event) => void): void;
  readonly document: { readonly visibilityState: string; addEventListener(type: "visibilitychange", listener: () => void): void };
  readonly navigator: { readonly onLine: boolean };
}

export interface Waking {
  /** What waits is worth a try now. `isSuspect`: a line that was open may be dead without a word. */
  woken(isSuspect: boolean): void;
  /** The page goes, for good or into the browser's cache, where it may be kept for minutes with its lines open. */
  suspended(): void;
  /** The page comes back out of the browser's cache: its lines were cut. */
  restored(): void;
}

/** Listens from now on. `now` is the time of day: other clocks stand still while a device sleeps. */
export function listenForWaking(window: Surroundings, waking: Waking, now: () => number = Date.now): void {
  let isSuspect = false;
  let seen = now();
  /** Whether time has passed unseen. */
  const stoodStill = (): boolean => {
    const still = now() - seen > STOOD_STILL_MS;
    seen = now();
    isSuspect ||= still;
    return still;
  };
  const wake = (): void => {
    // Without a network nothing can be found out; it is suspected until then.
    if (window.navigator.onLine) {
      const wasSuspect = isSuspect;
      isSuspect = false;
      waking.woken(wasSuspect);
    }
  };
  setInterval(() => {
    // A laptop that wakes shows the page that it showed before, so no other event comes.
    if (stoodStill() && window.document.visibilityState === "visible") {
      wake();
    }
  }, TURN_MS);
  window.addEventListener("offline", () => {
    isSuspect = true;
  });
  window.addEventListener("online", () => {
    stoodStill();
    wake();
  });
  window.addEventListener("pagehide", () => {
    waking.suspended();
  });
  window.addEventListener("pageshow", (event) => {
    if ((event as PageTransitionEvent).persisted) {
      seen = now();
      isSuspect = false;
      waking.restored();
    }
  });
  window.document.addEventListener("visibilitychange", () => {
    stoodStill();
    if (window.document.visibilityState === "visible") {
      wake();
    }
  });
}
