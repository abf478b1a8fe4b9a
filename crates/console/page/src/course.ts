// The course of one console: what it is opened with, and how it comes back. The token of a link lets in once; after that the
// browser keeps a credential (a cookie that no script can read) with which it comes back.

import { awayAfter, type Away, explain, type Explanation, next, type Retry, type Step } from "./reconnect.ts";

/** After a stream has lived this long, the next break counts as the first. */
const STABLE_MS = 30_000;

/**
 * How long an opening may take. The gateway decides within seconds (docs/console.md), but on a line that drops everything a browser
 * would wait for minutes. A token is not used up twice for a slow line; to come back again costs nothing.
 */
const TOKEN_OPENING_MS = 60_000;
const RETURN_OPENING_MS = 6000;
const RETURN_OPENING_LIMIT_MS = 20_000;
const RETURN_OPENING_STEP_MS = 2000;

/** After this an opening that began before the network was back is not waited for. */
const OVERDUE_MS = 2000;

/**
 * After so many tries in a row the page is asked for before a WebSocket is opened: Chromium holds WebSockets back, by up to 5 s, the more
 * of them have failed (its WebSocketPerProcessThrottler).
 */
const TRIES_WITHOUT_ASKING = 3;

/** What a connection is opened with. */
export type Entry = { readonly by: "token"; readonly token: string } | { readonly by: "credential" };

const CREDENTIAL: Entry = { by: "credential" };

/** What a person can press when a console is not there. */
export type Press = "return" | "take back" | "renew";

/** A console that is not there and does not come back by itself. */
export interface Outcome {
  /** What goes over it: it has ended, it was opened elsewhere, or there never was one. */
  readonly title: "ended" | "elsewhere" | "needsLink";
  readonly why: Explanation | undefined;
  readonly step: Step;
  readonly press: Press | undefined;
}

/** What carries the course out. */
export interface CourseActions {
  /** Opens the console. */
  connect(entry: Entry): void;
  /** Asks the embedder for a token, and calls `renewed` or `notRenewed`. */
  renew(): void;
  /** Nothing is done for a while. */
  pause(why: Explanation, retry: Retry): void;
  /** Nothing more is done. */
  end(outcome: Outcome): void;
  /** Tells the embedder that a console has ended. */
  tell(code: number, why: Explanation): void;
}

export interface CourseOptions {
  /** Somebody can be asked for a new token without asking the person. */
  readonly canAskForToken: boolean;
  /** Milliseconds of a clock that goes on. */
  readonly now?: () => number;
  /** From 0 to 1. */
  readonly random?: () => number;
}

export class Course {
  readonly #actions: CourseActions;
  readonly #canAskForToken: boolean;
  readonly #now: () => number;
  readonly #random: () => number;
  #entry: Entry = CREDENTIAL;
  #canComeBack = false;
  #tries: Record<Away, number> = { line: 0, target: 0 };
  #begunAt = 0;
  #openedAt: number | undefined;
  #wasThere = false;
  /** Why a token was refused, while something else is tried. */
  #refused: Explanation | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #onWake: (() => void) | undefined;
  #onPress: (() => void) | undefined;

  constructor(actions: CourseActions, { canAskForToken, now, random }: CourseOptions) {
    this.#actions = actions;
    this.#canAskForToken = canAskForToken;
    this.#now = now ?? (() => performance.now());
    this.#random = random ?? Math.random;
  }

  /** Begins with a link: by its token, else by what the browser keeps for its session, else by a token of the embedder. */
  begin(token: string | undefined, session: string | undefined): void {
    this.halt();
    this.#reset();
    this.#wasThere = false;
    this.#canComeBack = session !== undefined;
    if (token !== undefined) {
      this.#go({ by: "token", token });
    } else if (this.#canComeBack) {
      this.#go(CREDENTIAL);
    } else if (this.#canAskForToken) {
      this.#actions.renew();
    } else {
      this.#actions.end({ title: "needsLink", why: undefined, step: { kind: "ask", again: false }, press: undefined });
    }
  }

  /** The embedder has given a token. */
  renewed(token: string): void {
    this.#go({ by: "token", token });
  }

  /** The console is there. */
  opened(): void {
    this.#openedAt = this.#now();
    this.#wasThere = true;
    this.#refused = undefined;
  }

  /** The WebSocket has closed, or it must have. */
  closed(code: number, wasOpen: boolean): void {
    this.halt();
    if (this.#openedAt !== undefined && this.#now() - this.#openedAt > STABLE_MS) {
      this.#tries = { line: 0, target: 0 };
    }
    this.#openedAt = undefined;
    const why = explain(code, wasOpen);
    const away = awayAfter(why.reason);
    const step = next({
      code,
      wasOpen,
      by: this.#entry.by,
      canComeBack: this.#canComeBack,
      canAskForToken: this.#canAskForToken,
      tries: this.#tries[away],
    });
    const isRetry = step.kind === "retry" || step.kind === "return" || step.kind === "renew";
    // To find nothing to come back to is no end of a console.
    if (!(isRetry && why.reason === "ResumeRefused")) {
      this.#actions.tell(code, why);
    }
    if (!isRetry) {
      this.#finish(step, why);
      return;
    }
    if (why.reason === "TokenRefused") {
      this.#refused = why;
    }
    this.#tries[away] += 1;
    this.#later(step, why);
  }

  /** The person, the network or the page is back: what waits is done now. */
  woken(): void {
    this.#tries.line = 0;
    this.#onWake?.();
  }

  /** A person pressed what the outcome offered. */
  pressed(): void {
    const press = this.#onPress;
    if (press !== undefined) {
      this.#reset();
      press();
    }
  }

  /** Nothing is done by itself any more. A person can still have the embedder asked. */
  left(): void {
    this.halt();
    this.#onPress = this.#canAskForToken ? this.#renew : undefined;
  }

  /** The embedder gave no token. One that did not answer, `unanswered`, is asked again when somebody is back. */
  notRenewed(unanswered: boolean): void {
    this.left();
    this.#onWake = unanswered ? this.#onPress : undefined;
  }

  /** How long the present opening may take, in milliseconds. */
  openingTime(): number {
    const more = RETURN_OPENING_STEP_MS * this.#tries.line;
    return this.#entry.by === "token" ? TOKEN_OPENING_MS : Math.min(RETURN_OPENING_LIMIT_MS, RETURN_OPENING_MS + more);
  }

  /** Whether it is asked first whether the gateway is there. */
  asksFirst(): boolean {
    return this.#tries.line > TRIES_WITHOUT_ASKING;
  }

  /** Whether an opening that is not answered was begun in another time, before the network was back. */
  isOverdue(): boolean {
    return this.#entry.by === "credential" && this.#now() - this.#begunAt > OVERDUE_MS;
  }

  /** Nothing that waits is done. */
  halt(): void {
    clearTimeout(this.#timer);
    this.#onWake = undefined;
    this.#onPress = undefined;
  }

  #reset(): void {
    this.#tries = { line: 0, target: 0 };
    this.#refused = undefined;
  }

  readonly #renew = (): void => {
    this.halt();
    this.#actions.renew();
  };

  readonly #return = (): void => {
    this.#go(CREDENTIAL);
  };

  #go(entry: Entry): void {
    this.halt();
    this.#entry = entry;
    this.#begunAt = this.#now();
    this.#openedAt = undefined;
    this.#actions.connect(entry);
  }

  /** What a step does when its time has come. */
  #act(kind: Retry["kind"]): () => void {
    const entry = this.#entry;
    switch (kind) {
      case "retry":
        return () => {
          this.#go(entry);
        };
      case "return":
        return this.#return;
      case "renew":
        return this.#renew;
    }
  }

  #later({ kind, seconds }: Retry, why: Explanation): void {
    const act = this.#act(kind);
    if (seconds === 0) {
      act();
      return;
    }
    this.#onWake = act;
    // All viewers of a gateway lose it at the same moment; they shall not come back at one.
    this.#timer = setTimeout(act, seconds * 1000 * (0.5 + this.#random() / 2));
    this.#actions.pause(why, { kind, seconds });
  }

  #finish(step: Step, why: Explanation): void {
    let press: Press | undefined = this.#canAskForToken ? "renew" : undefined;
    this.#onPress = this.#canAskForToken ? this.#renew : undefined;
    if (step.kind === "rest") {
      press = "return";
      this.#onWake = this.#act(this.#entry.by === "token" ? "retry" : "return");
      this.#onPress = this.#onWake;
    } else if (step.kind === "moved") {
      press = "take back";
      this.#onPress = this.#return;
    } else if (step.kind === "ask" && step.again) {
      press = "return";
      this.#onPress = this.#return;
    }
    const refused = why.reason === "ResumeRefused" ? this.#refused : undefined;
    const hasNoLink = why.reason === "ResumeRefused" && refused === undefined && !this.#wasThere;
    const title = step.kind === "moved" ? "elsewhere" : hasNoLink ? "needsLink" : "ended";
    this.#actions.end({ title, why: refused ?? why, step, press });
  }
}
