// How the machine behind the console is, asked beside the stream: it may sleep, or be about to.
//
// The gateway answers GET /api/v1/console/target (docs/console-page.md). Where it does not, nothing of this is shown.

export type TargetState = "Running" | "Starting" | "Asleep" | "Stopped";

export interface TargetView {
  /** The kind of its object. */
  readonly kind: string | undefined;
  readonly state: TargetState;
  /** What the controller says of it; may be empty. */
  readonly message: string;
  /** When it goes to sleep, if that is soon. */
  readonly sleepsAt: Date | undefined;
  readonly sleepsBecause: string | undefined;
  /** The session only looks, whatever the link says. */
  readonly viewOnly: boolean;
  /** Its screen takes keys and no text. */
  readonly keysOnly: boolean;
  /** The layout of its keyboard, where it takes keys only and that is known. */
  readonly keyboard: string | undefined;
}

const STATES: readonly string[] = ["Running", "Starting", "Asleep", "Stopped"];

/** More than a condition's message has. */
const LONGEST_MESSAGE = 500;

/** Reads an answer; `undefined` when it is none of this protocol. */
export function readTarget(data: unknown): TargetView | undefined {
  if (typeof data !== "object" || data === null) {
    return undefined;
  }
  const { kind, state, message, sleepsAt, sleepsBecause, input, keysOnly, keyboard } = data as Record<string, unknown>;
  if (typeof state !== "string" || !STATES.includes(state)) {
    return undefined;
  }
  const at = typeof sleepsAt === "string" ? new Date(sleepsAt) : undefined;
  return {
    kind: typeof kind === "string" ? kind : undefined,
    state: state as TargetState,
    message: typeof message === "string" ? message.slice(0, LONGEST_MESSAGE) : "",
    sleepsAt: at === undefined || Number.isNaN(at.getTime()) ? undefined : at,
    sleepsBecause: typeof sleepsBecause === "string" ? sleepsBecause : undefined,
    viewOnly: input === "ViewOnly",
    keysOnly: keysOnly === true,
    keyboard: typeof keyboard === "string" ? keyboard : undefined,
  };
}

export interface Words {
  readonly title: string;
  readonly text: string;
}

/** What is said in place of a picture that is still to come; `undefined` when there is nothing to wait for. */
export function waitingWords(state: TargetState): Words | undefined {
  switch (state) {
    case "Asleep":
      return {
        title: "This desktop sleeps. It is being woken…",
        text: "You need not do anything: it is shown here as soon as it answers.",
      };
    case "Starting":
      return {
        title: "Its programs are starting…",
        text: "This desktop is awake and is getting ready. It is shown here as soon as it answers.",
      };
    case "Running":
    case "Stopped":
      return undefined;
  }
}

/** What is said before it goes to sleep. `time` writes a time of day as the person is used to. */
export function sleepWarning(view: TargetView, time: (at: Date) => string): string | undefined {
  if (view.sleepsAt === undefined) {
    return undefined;
  }
  const at = `This desktop goes to sleep at ${time(view.sleepsAt)}`;
  if (view.sleepsBecause === "Schedule") {
    return `${at} because of its schedule. Its home is kept; save what is open.`;
  }
  if (view.viewOnly) {
    return `${at} unless somebody uses it. You only look, which does not keep it awake.`;
  }
  const because = view.sleepsBecause === "Idle" ? "because nobody types" : "unless somebody uses it";
  return `${at} ${because}. Move the mouse or press a key in it to keep it awake.`;
}

/** What a question has led to. `never` when this gateway does not answer such questions. */
export type Answer = TargetView | "unknown" | "never";

/** Asks the gateway beside this page, with the token of the stream, or else with what the browser keeps to come back. */
export async function askGateway(url: string, token: string | undefined): Promise<Answer> {
  const response = await fetch(url, {
    headers: token === undefined ? {} : { Authorization: `Bearer ${token}` },
    cache: "no-store",
    credentials: "same-origin",
    redirect: "error",
    referrerPolicy: "no-referrer",
    signal: AbortSignal.timeout(5000),
  });
  if (response.status === 404) {
    return "never";
  }
  return response.ok ? (readTarget(await response.json()) ?? "unknown") : "unknown";
}

/** While the first picture is awaited, after it was shown, and from then on. */
const WAITING_MS = 2000;
const JUST_SHOWN_MS = 1000;
// A sleep is announced a fifth of its time-out before, 12 s for a minute (docs/workspace.md).
const SHOWN_MS = 10_000;

/** Asks again and again: often before the first picture, seldom afterwards. */
export class TargetWatch {
  readonly #ask: () => Promise<Answer>;
  readonly #tell: (view: TargetView) => void;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #shown = false;
  #over = false;

  constructor(ask: () => Promise<Answer>, tell: (view: TargetView) => void) {
    this.#ask = ask;
    this.#tell = tell;
    // A console that shows its picture at once is asked about only then.
    this.#next(WAITING_MS);
  }

  /** The first picture is there. */
  shown(): void {
    this.#shown = true;
    this.#next(JUST_SHOWN_MS);
  }

  stop(): void {
    this.#over = true;
    clearTimeout(this.#timer);
  }

  #next(after: number): void {
    clearTimeout(this.#timer);
    if (!this.#over) {
      this.#timer = setTimeout(() => {
        void this.#turn();
      }, after);
    }
  }

  async #turn(): Promise<void> {
    // A gateway that is being restarted answers later; what was said stays until then.
    const answer = await this.#ask().catch((): Answer => "unknown");
    if (this.#over) {
      return;
    }
    if (answer === "never") {
      this.stop();
      return;
    }
    if (answer !== "unknown") {
      this.#tell(answer);
    }
    this.#next(this.#shown ? SHOWN_MS : WAITING_MS);
  }
}
