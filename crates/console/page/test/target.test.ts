import assert from "node:assert/strict";
import test, { mock } from "node:test";

import { type Answer, isAwaited, readTarget, sleepCause, type TargetView, TargetWatch } from "../src/target.ts";
import { WORDS } from "../src/words.ts";

const RUNNING: TargetView = {
  kind: undefined,
  state: "Running",
  message: "",
  sleepsAt: undefined,
  sleepsBecause: undefined,
  viewOnly: false,
  keysOnly: false,
  keyboard: undefined,
};

test("an answer of the gateway is read", () => {
  assert.deepEqual(
    readTarget({
      kind: "VncWorkspace",
      name: "alice",
      state: "Running",
      message: "It answers.",
      sleepsAt: "2026-11-21T17:05:00Z",
      sleepsBecause: "Idle",
      input: "ViewOnly",
    }),
    {
      kind: "VncWorkspace",
      state: "Running",
      message: "It answers.",
      sleepsAt: new Date(Date.UTC(2026, 10, 21, 17, 5)),
      sleepsBecause: "Idle",
      viewOnly: true,
      keysOnly: false,
      keyboard: undefined,
    },
  );
  assert.deepEqual(readTarget({ state: "Running" }), RUNNING);
  const keys = { keysOnly: true, keyboard: "de" };
  assert.deepEqual(readTarget({ state: "Running", ...keys }), { ...RUNNING, ...keys });
});

test("what is malformed counts as absent", () => {
  for (const data of [undefined, null, 1, "Running", [], {}, { state: "Elsewhere" }, { state: 1 }]) {
    assert.equal(readTarget(data), undefined);
  }
  assert.deepEqual(readTarget({ kind: 1, state: "Running", message: 1, sleepsAt: "soon", sleepsBecause: 1, input: 1 }), RUNNING);
  assert.equal(readTarget({ state: "Asleep", message: "x".repeat(10_000) })?.message.length, 500);
});

test("a desktop that sleeps or starts is waited for in plain words", () => {
  assert.ok(isAwaited("Asleep") && isAwaited("Starting"));
  assert.ok(!isAwaited("Running") && !isAwaited("Stopped"));
  assert.equal(WORDS.en.awaited.Asleep.title, "This desktop sleeps. It is being woken…");
  assert.equal(WORDS.en.awaited.Starting.title, "Its programs are starting…");
});

test("a coming sleep is announced, with what helps against it", () => {
  const soon = { ...RUNNING, sleepsAt: new Date(Date.UTC(2026, 10, 21, 17, 5)) };
  const warning = (view: TargetView): string => {
    const cause = sleepCause(view);
    return cause === undefined ? "" : WORDS.en.sleeps[cause]("17:05");
  };
  assert.equal(sleepCause(RUNNING), undefined);
  assert.equal(
    warning({ ...soon, sleepsBecause: "Idle" }),
    "This desktop goes to sleep at 17:05 because nobody types. Move the mouse or press a key in it to keep it awake.",
  );
  assert.match(warning(soon), /at 17:05 unless somebody uses it\. Move the mouse/);
  const scheduled = warning({ ...soon, sleepsBecause: "Schedule" });
  assert.match(scheduled, /because of its schedule/);
  assert.doesNotMatch(scheduled, /mouse/);
  assert.match(warning({ ...soon, sleepsBecause: "Idle", viewOnly: true }), /does not keep it awake/);
});

/** A watch in a time of its own, and when it asked. */
function watch(t: { after(end: () => void): void }, answers: (number: number) => Answer | Error) {
  mock.timers.enable({ apis: ["setTimeout"] });
  t.after(() => {
    mock.timers.reset();
  });
  let now = 0;
  const asked: number[] = [];
  const told: TargetView[] = [];
  const watch = new TargetWatch(
    () => {
      asked.push(now);
      const answer = answers(asked.length);
      return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
    },
    (view) => told.push(view),
  );
  const pass = async (ms: number): Promise<void> => {
    for (const end = now + ms; now < end; ) {
      now += 500;
      mock.timers.tick(500);
      // What the question leads to happens in a few turns of the loop.
      for (let turn = 0; turn < 5; turn += 1) {
        await Promise.resolve();
      }
    }
  };
  return { watch, asked, told, pass };
}

test("it asks often before the first picture and seldom afterwards", async (t) => {
  const { watch: watched, asked, told, pass } = watch(t, () => RUNNING);
  await pass(7000);
  assert.deepEqual(asked, [2000, 4000, 6000]);
  watched.shown();
  await pass(25_000);
  assert.deepEqual(asked.slice(3), [8000, 18_000, 28_000]);
  assert.equal(told.length, 6);
  watched.stop();
  await pass(60_000);
  assert.equal(asked.length, 6);
});

test("a gateway that does not know such questions is asked once", async (t) => {
  const { asked, told, pass } = watch(t, () => "never");
  await pass(60_000);
  assert.deepEqual([asked.length, told.length], [1, 0]);
});

test("what cannot be known now is asked again, and takes nothing back", async (t) => {
  const { asked, told, pass } = watch(t, (number) => [new Error("no network"), "unknown" as const, RUNNING][number - 1] ?? "unknown");
  await pass(8000);
  assert.deepEqual([asked.length, told.length], [4, 1]);
});
