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

/** States in which a desktop's picture is still to come. */
export type AwaitedState = "Asleep" | "Starting";

export function isAwaited(state: TargetState): state is AwaitedState {
  return state === "Asleep" || state === "Starting";
}

/** Why a desktop goes to sleep, as far as it decides what can be done about it. */
export type SleepCause = "schedule" | "viewOnly" | "idle" | "unused";

/** Why it soon goes to sleep; `undefined` when it does not. */
export function sleepCause({ sleepsAt, sleepsBecause, viewOnly }: TargetView): SleepCause | undefined {
  if (sleepsAt === undefined) {
    return undefined;
  }
  if (sleepsBecause === "Schedule") {
    return "schedule";
  }
  if (viewOnly) {
    return "viewOnly";
  }
  return sleepsBecause === "Idle" ? "idle" : "unused";
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
