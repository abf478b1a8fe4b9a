import assert from "node:assert/strict";
import test from "node:test";

import { CLOSE_CODES } from "../src/close_codes.ts";
import { awayAfter, type End, explain, next, pause } from "../src/reconnect.ts";

const code = (reason: string): number => {
  for (const [number, entry] of CLOSE_CODES) {
    if (entry.reason === reason) {
      return number;
    }
  }
  throw new Error(`there is no ${reason}`);
};

const CAME_BACK: Omit<End, "code"> = { wasOpen: true, by: "credential", canComeBack: true, canAskForToken: false, tries: 0 };

const after = (reason: string, end: Partial<End> = {}): string => next({ ...CAME_BACK, code: code(reason), ...end }).kind;

const MAY_COME_BACK = [
  "Restarting",
  "Internal",
  "TargetStopped",
  "TargetDisconnected",
  "TargetUnreachable",
  "TargetNotRunning",
  "WakeTimeout",
  "TooManyWaiting",
  "TooManyAttempts",
  "ViewerLost",
];

test("who was let in comes back, and nobody is asked for a token", () => {
  for (const reason of MAY_COME_BACK) {
    for (const by of ["token", "credential"] as const) {
      assert.equal(after(reason, { by }), "return", reason);
      assert.equal(after(reason, { by, canAskForToken: true }), "return", reason);
    }
  }
});

test("a link without a session can only be opened by a new token", () => {
  for (const reason of MAY_COME_BACK) {
    assert.equal(after(reason, { by: "token", canComeBack: false, canAskForToken: true }), "renew", reason);
    assert.equal(after(reason, { by: "token", canComeBack: false }), "ask", reason);
  }
});

test("a token that was not looked at is used again", () => {
  for (const reason of ["Unavailable", "HandshakeTimeout"]) {
    assert.equal(after(reason, { by: "token" }), "retry");
    assert.equal(after(reason), "return");
  }
  assert.equal(next({ ...CAME_BACK, code: 1006, wasOpen: false, by: "token", tries: 3 }).kind, "retry");
  assert.equal(next({ ...CAME_BACK, code: 1006, wasOpen: false, tries: 3 }).kind, "return");
  assert.equal(next({ ...CAME_BACK, code: 1006, by: "token" }).kind, "return");
});

test("a used token may be one that let this browser in", () => {
  assert.deepEqual(next({ ...CAME_BACK, code: code("TokenRefused"), by: "token" }), { kind: "return", seconds: 0 });
  assert.equal(after("TokenRefused", { by: "token", canComeBack: false, canAskForToken: true }), "renew");
  assert.equal(after("TokenRefused", { by: "token", canComeBack: false }), "ask");
});

test("where there is nothing to come back to a token is asked for, at once and then with pauses", () => {
  const end = { ...CAME_BACK, code: code("ResumeRefused"), canAskForToken: true };
  assert.deepEqual(next(end), { kind: "renew", seconds: 0 });
  assert.deepEqual(next({ ...end, tries: 2 }), { kind: "renew", seconds: 4 });
  assert.deepEqual(next({ ...end, tries: 20 }), { kind: "ask", again: false });
  assert.deepEqual(next({ ...end, canAskForToken: false }), { kind: "ask", again: false });
});

test("a console that went to another tab stays there until a person takes it back", () => {
  assert.equal(after("Moved"), "moved");
  assert.equal(after("Moved", { canAskForToken: true }), "moved");
});

test("what two have used opens nothing, and no token is asked for by itself", () => {
  for (const canAskForToken of [false, true]) {
    assert.deepEqual(next({ ...CAME_BACK, code: code("CredentialReused"), canAskForToken }), { kind: "ask", again: false });
  }
});

test("a session that is over is not tried again", () => {
  for (const reason of ["Expired", "Revoked", "Deleted", "TargetGone", "TargetExpired", "PolicyChanged", "AccessWithdrawn"]) {
    assert.equal(after(reason, { canAskForToken: true }), "over", reason);
  }
});

test("what a person decided or broke waits for a person", () => {
  for (const reason of ["ViewerLeft", "Idle", "Replaced", "InUse", "TooManyViewers", "ProtocolError", "TargetFailed"]) {
    assert.equal(after(reason, { canAskForToken: true }), "ask", reason);
  }
  // A place may be free later.
  assert.deepEqual(next({ ...CAME_BACK, code: code("InUse") }), { kind: "ask", again: true });
  assert.deepEqual(next({ ...CAME_BACK, code: code("InUse"), by: "token" }), { kind: "ask", again: false });
});

test("a desktop that went to sleep is not woken by a page that nobody looks at", () => {
  assert.deepEqual(next({ ...CAME_BACK, code: code("TargetHibernated") }), { kind: "ask", again: true });
});

test("a gateway that is away is tried so often that everybody is back within 5 s of it, and longer than it waits", () => {
  const pauses = Array.from({ length: 160 }, (_, tries) => pause("line", tries));
  assert.ok(Math.max(...pauses) <= 3);
  // At random half of a pause at least.
  assert.ok(pauses.reduce((sum, pause) => sum + pause / 2, 0) > 230 && pauses.reduce((sum, pause) => sum + pause * 0.75, 0) > 300);
  assert.equal(after("Restarting", { tries: 159 }), "return");
  assert.equal(after("Restarting", { tries: 160 }), "rest");
  assert.equal(next({ ...CAME_BACK, code: 1006, wasOpen: false, tries: 160 }).kind, "rest");
});

test("a machine that is away is tried with growing pauses until it gives up", () => {
  assert.deepEqual(
    [0, 1, 2, 3, 4, 5, 19].map((tries) => pause("target", tries)),
    [1, 2, 4, 8, 15, 15, 15],
  );
  assert.equal(after("TargetNotRunning", { tries: 19 }), "return");
  assert.equal(after("TargetNotRunning", { tries: 20 }), "rest");
  assert.deepEqual([awayAfter("Restarting"), awayAfter("TargetStopped"), awayAfter("Revoked")], ["line", "target", "target"]);
});

test("every end is said in plain words", () => {
  for (const [number, { reason, sentence }] of CLOSE_CODES) {
    assert.deepEqual(explain(number, true), { reason, sentence });
  }
  assert.equal(explain(1006, true).reason, "ConnectionLost");
  assert.equal(explain(1006, false).reason, "NoConnection");
  assert.equal(explain(1009, true).sentence, "The console was closed with code 1009.");
});
