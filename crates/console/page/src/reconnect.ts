// What to do when a console has ended.

import { CLOSE_CODES } from "./close_codes.ts";

/** RFC 6455 section 7.4.1: the connection broke, or there never was one. Browsers tell no more. */
export const ABNORMAL = 1006;
/** RFC 6455 section 7.4.1: a close frame without a code. */
const NO_STATUS = 1005;

/** What is away and has to come back before a console can. */
export type Away = "line" | "target";

/** What may come back by itself: the line and the gateway, or the machine. The same console is worth another try. */
const MAY_COME_BACK: ReadonlyMap<string, Away> = new Map([
  ["ConnectionLost", "line"],
  ["NoConnection", "line"],
  ["Restarting", "line"],
  ["Unavailable", "line"],
  ["HandshakeTimeout", "line"],
  ["ViewerLost", "line"],
  ["Internal", "target"],
  ["TargetStopped", "target"],
  ["TargetDisconnected", "target"],
  ["TargetUnreachable", "target"],
  ["TargetNotRunning", "target"],
  ["WakeTimeout", "target"],
  ["TooManyWaiting", "target"],
  ["TooManyAttempts", "target"],
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
const TOKEN_UNTOUCHED: ReadonlySet<string> = new Set(["NoConnection", "Unavailable", "HandshakeTimeout"]);

/** Who was let in may try again when they want to: a place is free by then, they want the desktop awake, a phone is at home again. */
const WORTH_A_PRESS: ReadonlySet<string> = new Set(["InUse", "TooManyViewers", "TargetHibernated", "AddressNotAllowed"]);

export interface End {
  readonly code: number;
  /** The WebSocket was open: the gateway has answered. */
  readonly wasOpen: boolean;
  /** What it was opened with: a token, or what the browser keeps to come back. */
  readonly by: "token" | "credential";
  /** The browser may keep something to come back with: the link names its session. */
  readonly canComeBack: boolean;
  /** Somebody can be asked for a new token without asking the person. */
  readonly canAskForToken: boolean;
  /** How often in a row the same was away before. */
  readonly tries: number;
}

/** Something that happens by itself, after these seconds. */
export type Retry =
  /** Connect again with the same token. */
  | { readonly kind: "retry"; readonly seconds: number }
  /** Come back by what the browser keeps. */
  | { readonly kind: "return"; readonly seconds: number }
  /** Ask for a new token and connect with it. */
  | { readonly kind: "renew"; readonly seconds: number };

export type Step =
  | Retry
  /** It was tried often enough: again when the person or the network is back. */
  | { readonly kind: "rest" }
  /** The console went to another tab of this browser. The person may take it back. */
  | { readonly kind: "moved" }
  /** The person has to bring a new link, or `again`, press the button that comes back. */
  | { readonly kind: "ask"; readonly again: boolean }
  /** The session is over; a new link is one to another session. */
  | { readonly kind: "over" };

export interface Explanation {
  readonly reason: string;
  readonly sentence: string;
}

/**
 * Seconds before each of many tries in a row, the last for all that follow, and tries after which the page stops. A gateway that is
 * restarted is tried often, so that everybody is back soon after it. The tries last longer than its `resumeWindow`, 5 minutes by
 * default. To reach for a machine costs the gateway more.
 */
const SCHEDULES: Readonly<Record<Away, { readonly pauses: readonly number[]; readonly limit: number }>> = {
  line: { pauses: [0.5, 1, 1, 2, 3], limit: 160 },
  target: { pauses: [1, 2, 4, 8, 15], limit: 20 },
};

/** Seconds before try number `tries` (from 0) of many in a row. */
export function pause(away: Away, tries: number): number {
  const { pauses } = SCHEDULES[away];
  return pauses[Math.min(tries, pauses.length - 1)] ?? 15;
}

/** What has to come back after an end for this reason. What nobody waits for counts as the slower. */
export function awayAfter(reason: string): Away {
  return MAY_COME_BACK.get(reason) ?? "target";
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
  if (reason === "Moved") {
    return { kind: "moved" };
  }
  const away = awayAfter(reason);
  const isLast = end.tries >= SCHEDULES[away].limit;
  const seconds = pause(away, end.tries);
  if (reason === "TokenRefused" || reason === "ResumeRefused") {
    if (reason === "TokenRefused" && end.by === "token" && end.canComeBack) {
      // It may have let this browser in before, and the answer was lost.
      return { kind: "return", seconds: 0 };
    }
    // A page that was opened without a token asks at once.
    return end.canAskForToken && !isLast
      ? { kind: "renew", seconds: end.tries === 0 ? 0 : seconds }
      : { kind: "ask", again: false };
  }
  if (!MAY_COME_BACK.has(reason)) {
    return { kind: "ask", again: end.by === "credential" && end.canComeBack && WORTH_A_PRESS.has(reason) };
  }
  if (isLast) {
    return end.canComeBack ? { kind: "rest" } : { kind: "ask", again: false };
  }
  if (end.by === "token" && TOKEN_UNTOUCHED.has(reason)) {
    return { kind: "retry", seconds };
  }
  if (end.canComeBack) {
    return { kind: "return", seconds };
  }
  return end.canAskForToken ? { kind: "renew", seconds } : { kind: "ask", again: false };
}
