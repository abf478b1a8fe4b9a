// What to do when a console has ended.

import { CLOSE_CODES } from "./close_codes.ts";

/** RFC 6455 section 7.4.1: the connection broke, or there never was one. Browsers tell no more. */
const ABNORMAL = 1006;
/** RFC 6455 section 7.4.1: a close frame without a code. */
const NO_STATUS = 1005;

/** The machine or the gateway may come back by itself, or the line may: the same console is worth another try. */
const MAY_COME_BACK: ReadonlySet<string> = new Set([
  "Internal",
  "Restarting",
  "TargetStopped",
  "TargetDisconnected",
  "TargetUnreachable",
  "TargetNotRunning",
  "WakeTimeout",
  "TooManyWaiting",
  "Unavailable",
  "HandshakeTimeout",
  "ViewerLost",
]);

/** Nothing opens this session any more. */
const OVER: ReadonlySet<string> = new Set([
  "Expired",
  "Revoked",
  "Deleted",
  "TargetGone",
  "TargetExpired",
  "PolicyChanged",
  "AccessWithdrawn",
]);

/** Turned away before the token was looked at, so it is as good as before. */
const TOKEN_UNTOUCHED: ReadonlySet<string> = new Set(["Unavailable", "HandshakeTimeout"]);

export interface End {
  readonly code: number;
  /** The WebSocket was open: the gateway has answered. */
  readonly wasOpen: boolean;
  /** Somebody can be asked for a new token without asking the person. */
  readonly canAskForToken: boolean;
  /** How often in a row it was tried again before. */
  readonly tries: number;
}

export type Step =
  /** Connect again with the same token. */
  | { readonly kind: "retry"; readonly seconds: number }
  /** Ask for a new token and connect with it. */
  | { readonly kind: "renew"; readonly seconds: number }
  /** The person has to bring a new link. */
  | { readonly kind: "ask" }
  /** The session is over; a new link is one to another session. */
  | { readonly kind: "over" };

export interface Explanation {
  readonly reason: string;
  readonly sentence: string;
}

/** Tries in a row after which the page stops: about five minutes with the pauses below. */
const MOST_TRIES = 20;
const PAUSES = [1, 2, 4, 8, 15];

/** Seconds before try number `tries` (from 0) of many in a row. */
export function pause(tries: number): number {
  return PAUSES[Math.min(tries, PAUSES.length - 1)] ?? 15;
}

/** Why it ended, in plain words. */
export function explain(code: number, wasOpen: boolean): Explanation {
  const known = CLOSE_CODES.get(code);
  if (known !== undefined) {
    return known;
  }
  if ((code === ABNORMAL || code === NO_STATUS) && wasOpen) {
    return { reason: "ConnectionLost", sentence: "The connection to the console gateway broke." };
  }
  if (code === ABNORMAL) {
    return { reason: "NoConnection", sentence: "The console gateway cannot be reached, or it turned this page away." };
  }
  return { reason: `Code${code}`, sentence: `The console was closed with code ${code}.` };
}

/** What to do now. */
export function next(end: End): Step {
  const { reason } = explain(end.code, end.wasOpen);
  if (OVER.has(reason)) {
    return { kind: "over" };
  }
  const lost = reason === "ConnectionLost" || reason === "NoConnection";
  // A token that came to nothing, because its time was over when the gateway was back, can be replaced.
  const worthIt = lost || MAY_COME_BACK.has(reason) || reason === "TokenRefused";
  if (!worthIt || end.tries >= MOST_TRIES) {
    return { kind: "ask" };
  }
  const seconds = pause(end.tries);
  if (reason === "NoConnection" || TOKEN_UNTOUCHED.has(reason)) {
    return { kind: "retry", seconds };
  }
  return end.canAskForToken ? { kind: "renew", seconds } : { kind: "ask" };
}

/** What the page says after the reason. */
export function advice(step: Step): string {
  switch (step.kind) {
    case "retry":
    case "renew":
      return "This page connects again by itself.";
    case "ask":
      return "To go on, paste a new link or token. Each one opens the console once, unless it was made for more.";
    case "over":
      return "This session cannot be opened again. For another one, paste its link.";
  }
}
