import assert from "node:assert/strict";
import test, { mock, type TestContext } from "node:test";

import { CLOSE_CODES } from "../src/close_codes.ts";
import { Course, type Outcome } from "../src/course.ts";
import { ABNORMAL } from "../src/reconnect.ts";

const TOKEN = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLM-_09";
const SESSION = "team-a/web-1";

const code = (reason: string): number => {
  const found = [...CLOSE_CODES].find(([, entry]) => entry.reason === reason);
  assert.ok(found, reason);
  return found[0];
};

/** A course in a time of its own, and what it has done, in words. */
class Track {
  readonly did: string[] = [];
  readonly course: Course;
  outcome: Outcome | undefined;
  now = 0;

  constructor(t: TestContext, canAskForToken = false) {
    mock.timers.enable({ apis: ["setTimeout"] });
    t.after(() => {
      mock.timers.reset();
    });
    this.course = new Course(
      {
        connect: (entry) => this.did.push(entry.by === "token" ? `token ${entry.token.slice(0, 3)}` : "credential"),
        renew: () => this.did.push("renew"),
        pause: (why, { kind, seconds }) => this.did.push(`${why.reason}: ${kind} in ${seconds} s`),
        end: (outcome) => {
          this.outcome = outcome;
          this.did.push(`${outcome.title}: ${outcome.why?.reason ?? "nothing"}, press ${outcome.press ?? "nothing"}`);
        },
        tell: (_, why) => this.did.push(`tell ${why.reason}`),
      },
      { canAskForToken, now: () => this.now, random: () => 1 },
    );
  }

  pass(ms: number): void {
    this.now += ms;
    mock.timers.tick(ms);
  }

  /** What was done since the last question. */
  since(): string[] {
    return this.did.splice(0);
  }

  /** Is let in by a link, and is there. */
  enter(): void {
    this.course.begin(TOKEN, SESSION);
    this.course.opened();
    this.pass(60_000);
    assert.deepEqual(this.since(), ["token abc"]);
  }
}

test("a link opens the console by its token", (t) => {
  const track = new Track(t, true);
  track.enter();
  track.pass(3_600_000);
  assert.deepEqual(track.since(), []);
});

test("a page that is loaded again comes back, also in a frame, and asks nobody", (t) => {
  for (const canAskForToken of [false, true]) {
    const track = new Track(t, canAskForToken);
    track.course.begin(undefined, SESSION);
    track.course.opened();
    track.pass(60_000);
    assert.deepEqual(track.since(), ["credential"]);
    mock.timers.reset();
  }
});

test("a page with nothing to come back to needs a link, or has the embedder asked at once", (t) => {
  const alone = new Track(t);
  alone.course.begin(undefined, SESSION);
  alone.course.closed(code("ResumeRefused"), true);
  assert.deepEqual(alone.since(), ["credential", "tell ResumeRefused", "needsLink: ResumeRefused, press nothing"]);
  mock.timers.reset();

  const embedded = new Track(t, true);
  embedded.course.begin(undefined, SESSION);
  embedded.course.closed(code("ResumeRefused"), true);
  embedded.course.renewed(TOKEN);
  embedded.course.opened();
  // Nothing has ended, so nothing of an end is told.
  assert.deepEqual(embedded.since(), ["credential", "renew", "token abc"]);
});

test("a page without a session is what it was", (t) => {
  const alone = new Track(t);
  alone.course.begin(undefined, undefined);
  assert.deepEqual(alone.since(), ["needsLink: nothing, press nothing"]);
  mock.timers.reset();

  const embedded = new Track(t, true);
  embedded.course.begin(undefined, undefined);
  embedded.course.renewed(TOKEN);
  embedded.course.opened();
  embedded.course.closed(code("Restarting"), true);
  embedded.pass(1000);
  assert.deepEqual(embedded.since(), ["renew", "token abc", "tell Restarting", "Restarting: renew in 0.5 s", "renew"]);
});

test("a restart of the gateway, a broken line and a lost viewer are come back from, until it serves again", (t) => {
  for (const [end, reason] of [
    [code("Restarting"), "Restarting"],
    [ABNORMAL, "ConnectionLost"],
    [code("ViewerLost"), "ViewerLost"],
  ] as const) {
    const track = new Track(t, true);
    track.enter();
    track.course.closed(end, true);
    assert.deepEqual(track.since(), [`tell ${reason}`, `${reason}: return in 0.5 s`]);
    track.pass(1000);
    for (const seconds of [1, 1, 2, 3, 3]) {
      assert.deepEqual(track.since(), ["credential"]);
      track.course.closed(ABNORMAL, false);
      assert.deepEqual(track.since(), ["tell NoConnection", `NoConnection: return in ${seconds} s`]);
      track.pass(seconds * 1000);
    }
    track.course.opened();
    track.pass(60_000);
    // The next break is the first again.
    track.since();
    track.course.closed(end, true);
    assert.deepEqual(track.since(), [`tell ${reason}`, `${reason}: return in 0.5 s`]);
    mock.timers.reset();
  }
});

test("viewers that were lost together do not come back at one moment", (t) => {
  const track = new Track(t);
  const pauses = [0, 0.5, 1].map((random) => {
    const began: number[] = [];
    const course = new Course(
      { connect: () => began.push(track.now), renew() {}, pause() {}, end() {}, tell() {} },
      { canAskForToken: false, now: () => track.now, random: () => random },
    );
    course.begin(undefined, SESSION);
    course.closed(code("Restarting"), true);
    const since = track.now;
    for (let turn = 0; turn < 20; turn += 1) {
      track.pass(25);
    }
    return (began[1] ?? 0) - since;
  });
  assert.deepEqual(pauses, [250, 375, 500]);
});

test("a token is used again only while nobody has looked at it", (t) => {
  const track = new Track(t);
  track.course.begin(TOKEN, SESSION);
  track.course.closed(ABNORMAL, false);
  track.pass(1000);
  track.course.closed(code("Unavailable"), true);
  track.pass(2000);
  track.since();
  // It was let in, and the line broke before the first picture.
  track.course.closed(ABNORMAL, true);
  track.pass(1000);
  assert.deepEqual(track.since(), ["tell ConnectionLost", "ConnectionLost: return in 1 s", "credential"]);
});

test("a used link still opens the console that this browser has, and says what it is where it has none", (t) => {
  const track = new Track(t);
  track.course.begin(TOKEN, SESSION);
  track.course.closed(code("TokenRefused"), true);
  assert.deepEqual(track.since(), ["token abc", "tell TokenRefused", "credential"]);
  track.course.closed(code("ResumeRefused"), true);
  assert.deepEqual(track.since(), ["tell ResumeRefused", "ended: TokenRefused, press nothing"]);
});

test("an embedder that gives bad tokens is not asked without pause or end", (t) => {
  const track = new Track(t, true);
  track.course.begin(TOKEN, SESSION);
  let asked = 0;
  for (let turn = 0; turn < 100 && track.outcome === undefined; turn += 1) {
    track.course.closed(code("TokenRefused"), true);
    track.course.closed(code("ResumeRefused"), true);
    const did = track.since();
    assert.ok(!did.includes("renew"), `without a pause: ${did}`);
    track.pass(15_000);
    if (track.since().includes("renew")) {
      asked += 1;
      track.course.renewed(TOKEN);
    }
  }
  assert.ok(asked >= 5 && asked <= 20, String(asked));
  assert.equal(track.outcome?.press, "renew");
});

test("where cookies are blocked the embedder gives a token after a break, as before", (t) => {
  const track = new Track(t, true);
  track.enter();
  track.course.closed(code("Restarting"), true);
  track.pass(1000);
  track.course.closed(code("ResumeRefused"), true);
  assert.deepEqual(track.since(), ["tell Restarting", "Restarting: return in 0.5 s", "credential", "renew"]);
});

test("a duplicated tab has the console, and the first one does not take it back by itself", (t) => {
  const first = new Track(t, true);
  first.enter();
  first.course.closed(code("Moved"), true);
  assert.deepEqual(first.since(), ["tell Moved", "elsewhere: Moved, press take back"]);
  first.course.woken();
  first.pass(600_000);
  assert.deepEqual(first.since(), []);
  first.course.pressed();
  assert.deepEqual(first.since(), ["credential"]);
});

test("what two have used is withdrawn, and a person has to ask for more", (t) => {
  const track = new Track(t, true);
  track.enter();
  track.course.closed(code("CredentialReused"), true);
  track.course.woken();
  track.pass(600_000);
  assert.deepEqual(track.since(), ["tell CredentialReused", "ended: CredentialReused, press renew"]);
  track.course.pressed();
  assert.deepEqual(track.since(), ["renew"]);
});

test("who was away for longer than the console waits needs a link", (t) => {
  const track = new Track(t);
  track.enter();
  track.course.closed(ABNORMAL, true);
  track.pass(1000);
  track.since();
  track.course.closed(code("ResumeRefused"), true);
  assert.deepEqual(track.since(), ["tell ResumeRefused", "ended: ResumeRefused, press nothing"]);
  track.course.woken();
  assert.deepEqual(track.since(), []);
});

test("a revoked session is over, whatever wakes", (t) => {
  const track = new Track(t);
  track.enter();
  track.course.closed(code("Revoked"), true);
  track.course.woken();
  track.course.pressed();
  track.pass(600_000);
  assert.deepEqual(track.since(), ["tell Revoked", "ended: Revoked, press nothing"]);
});

test("a laptop that wakes, a phone that is unlocked and a network that is back do not wait for the pause", (t) => {
  const track = new Track(t);
  track.enter();
  track.course.closed(ABNORMAL, true);
  track.pass(1000);
  track.course.closed(ABNORMAL, false);
  track.pass(10);
  track.since();
  track.course.woken();
  assert.deepEqual(track.since(), ["credential"]);
  // The pause that was cut short does nothing more.
  track.pass(60_000);
  track.course.woken();
  assert.deepEqual(track.since(), []);
});

test("a page that has given up begins again when somebody is back", (t) => {
  const track = new Track(t);
  track.enter();
  track.course.closed(ABNORMAL, true);
  for (let turn = 0; turn < 1000 && track.outcome === undefined; turn += 1) {
    track.pass(3000);
    track.course.closed(ABNORMAL, false);
  }
  assert.deepEqual([track.outcome?.step.kind, track.outcome?.press], ["rest", "return"]);
  track.since();
  track.course.woken();
  assert.deepEqual(track.since(), ["credential"]);
  track.course.closed(ABNORMAL, false);
  assert.deepEqual(track.since(), ["tell NoConnection", "NoConnection: return in 0.5 s"]);
});

test("a page out of the browser's cache comes back at once", (t) => {
  const track = new Track(t);
  track.enter();
  // As the page does it.
  track.course.closed(ABNORMAL, true);
  track.course.woken();
  assert.deepEqual(track.since(), ["tell ConnectionLost", "ConnectionLost: return in 0.5 s", "credential"]);
});

test("an opening is given up in time, and a token has more of it", (t) => {
  const track = new Track(t);
  track.course.begin(TOKEN, SESSION);
  assert.equal(track.course.openingTime(), 60_000);
  assert.equal(track.course.isOverdue(), false);
  track.pass(3000);
  assert.equal(track.course.isOverdue(), false, "a token is waited for");
  track.course.begin(undefined, SESSION);
  assert.equal(track.course.openingTime(), 6000);
  track.course.closed(ABNORMAL, false);
  track.pass(1000);
  assert.equal(track.course.openingTime(), 8000);
  assert.equal(track.course.isOverdue(), false);
  track.pass(2500);
  assert.equal(track.course.isOverdue(), true);
});

test("a gateway that is away for long is asked for before a WebSocket is opened", (t) => {
  const track = new Track(t);
  track.enter();
  track.course.closed(code("Restarting"), true);
  for (const asksFirst of [false, false, false, true, true]) {
    track.pass(3000);
    assert.equal(track.course.asksFirst(), asksFirst);
    track.course.closed(ABNORMAL, false);
  }
  track.pass(3000);
  track.course.opened();
  track.pass(60_000);
  track.course.closed(ABNORMAL, true);
  track.pass(3000);
  assert.equal(track.course.asksFirst(), false);
});

test("who leaves is not brought back", (t) => {
  const track = new Track(t, true);
  track.enter();
  track.course.left();
  track.course.woken();
  track.pass(600_000);
  assert.deepEqual(track.since(), []);
  track.course.pressed();
  assert.deepEqual(track.since(), ["renew"]);
});

test("an embedder whose own tab sleeps is asked again when somebody is back", (t) => {
  const track = new Track(t, true);
  track.course.begin(undefined, undefined);
  track.course.notRenewed(true);
  track.course.woken();
  track.course.notRenewed(false);
  track.course.woken();
  assert.deepEqual(track.since(), ["renew", "renew"]);
});
