import assert from "node:assert/strict";
import test, { mock } from "node:test";

import type { Stroke } from "../src/keystrokes.ts";
import { TEXT_LIMIT, Typing } from "../src/typing.ts";

const KEY: readonly Stroke[] = [
  { code: "KeyA", keysym: 0x61, down: true },
  { code: "KeyA", keysym: 0x61, down: false },
];

function setup(): { sent: string[]; typing: Typing } {
  const sent: string[] = [];
  const typing = new Typing(({ code, down }) => sent.push((down ? "+" : "-") + code));
  return { sent, typing };
}

test("keys are sent as slowly as a machine reads them", (context) => {
  mock.timers.enable({ apis: ["setTimeout"] });
  context.after(() => {
    mock.timers.reset();
  });
  const { sent, typing } = setup();
  let changes = 0;
  typing.watch(() => {
    changes += 1;
  });
  typing.add([KEY, KEY]);
  typing.add([KEY]);
  assert.equal(sent.length, 2);
  mock.timers.tick(29);
  assert.equal(sent.length, 2);
  mock.timers.tick(1);
  assert.equal(sent.length, 4);
  assert.deepEqual([typing.isBusy, changes], [true, 1]);
  mock.timers.tick(30);
  mock.timers.tick(30);
  assert.equal(sent.length, 6);
  assert.deepEqual([typing.isBusy, changes], [false, 2]);
  // The next one does not wait.
  typing.add([KEY]);
  assert.equal(sent.length, 8);
});

test("keys come after what was composed before them, and do not wait for a long text", (context) => {
  mock.timers.enable({ apis: ["setTimeout"] });
  context.after(() => {
    mock.timers.reset();
  });
  const { sent, typing } = setup();
  const follow = (): boolean => typing.after(() => sent.push("Enter"));
  assert.equal(follow(), false);
  typing.add([KEY, KEY]);
  assert.equal(follow(), true);
  for (let turn = 0; turn < 4; turn += 1) {
    mock.timers.tick(30);
  }
  assert.deepEqual(sent, ["+KeyA", "-KeyA", "+KeyA", "-KeyA", "Enter"]);
  // However much of it there is.
  for (let turn = 0; turn < 100; turn += 1) {
    typing.add([KEY]);
  }
  assert.equal(follow(), true);
  typing.stop();
  typing.add(Array.from({ length: 100 }, () => KEY));
  assert.equal(follow(), false);
});

test("it can be stopped, and takes no more than some minutes' worth", (context) => {
  mock.timers.enable({ apis: ["setTimeout"] });
  context.after(() => {
    mock.timers.reset();
  });
  const { sent, typing } = setup();
  typing.add(Array.from({ length: 2 * TEXT_LIMIT }, () => KEY));
  mock.timers.tick(30);
  typing.stop();
  assert.equal(typing.isBusy, false);
  mock.timers.tick(1000);
  assert.equal(sent.length, 4);
  typing.add(Array.from({ length: TEXT_LIMIT }, () => KEY));
  typing.add([KEY]);
  for (let turn = 0; turn < 2 * TEXT_LIMIT; turn += 1) {
    mock.timers.tick(30);
  }
  // One was on its way when the last one came.
  assert.equal(sent.length, 4 + 2 * (TEXT_LIMIT + 1));
});
