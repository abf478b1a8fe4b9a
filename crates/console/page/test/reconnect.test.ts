import assert from "node:assert/strict";
import test from "node:test";

import { CLOSE_CODES } from "../src/close_codes.ts";
import { advice, explain, next, pause } from "../src/reconnect.ts";

const code = (reason: string): number => {
  for (const [number, entry] of CLOSE_CODES) {
    if (entry.reason === reason) {
      return number;
    }
  }
  throw new Error(`there is no ${reason}`);
};

const after = (reason: string, canAskForToken: boolean, tries = 0): string =>
  next({ code: code(reason), wasOpen: true, canAskForToken, tries }).kind;

test("what may come back is tried again when a token can be had", () => {
  for (const reason of [
    "Restarting",
    "Internal",
    "TargetStopped",
    "TargetDisconnected",
    "TargetUnreachable",
    "TargetNotRunning",
    "WakeTimeout",
    "TooManyWaiting",
    "ViewerLost",
    "TokenRefused",
  ]) {
    assert.equal(after(reason, true), "renew", reason);
    assert.equal(after(reason, false), "ask", reason);
  }
});

test("a token that was not looked at is used again", () => {
  assert.equal(after("Unavailable", false), "retry");
  assert.equal(after("HandshakeTimeout", true), "retry");
  assert.equal(next({ code: 1006, wasOpen: false, canAskForToken: false, tries: 3 }).kind, "retry");
});

test("a broken line needs a new token", () => {
  assert.equal(next({ code: 1006, wasOpen: true, canAskForToken: true, tries: 0 }).kind, "renew");
  assert.equal(next({ code: 1006, wasOpen: true, canAskForToken: false, tries: 0 }).kind, "ask");
});

test("a session that is over is not tried again", () => {
  for (const reason of ["Expired", "Revoked", "Deleted", "TargetGone", "TargetExpired", "PolicyChanged", "AccessWithdrawn"]) {
    assert.equal(after(reason, true), "over", reason);
  }
});

test("what a person decided or broke waits for a person", () => {
  for (const reason of ["ViewerLeft", "Idle", "Replaced", "InUse", "TooManyViewers", "ProtocolError", "TargetFailed"]) {
    assert.equal(after(reason, true), "ask", reason);
  }
});

test("a desktop that went to sleep is not woken by a page that nobody looks at", () => {
  assert.equal(after("TargetHibernated", true), "ask");
});

test("it gives up, with growing pauses until then", () => {
  assert.deepEqual([0, 1, 2, 3, 4, 5, 19].map(pause), [1, 2, 4, 8, 15, 15, 15]);
  assert.equal(after("Restarting", true, 19), "renew");
  assert.equal(after("Restarting", true, 20), "ask");
});

test("every end is said in plain words", () => {
  for (const [number, { reason, sentence }] of CLOSE_CODES) {
    assert.deepEqual(explain(number, true), { reason, sentence });
    assert.ok(advice(next({ code: number, wasOpen: true, canAskForToken: false, tries: 0 })).endsWith("."));
  }
  assert.equal(explain(1006, true).reason, "ConnectionLost");
  assert.equal(explain(1006, false).reason, "NoConnection");
  assert.equal(explain(1009, true).sentence, "The console was closed with code 1009.");
});
