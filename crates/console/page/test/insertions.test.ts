import assert from "node:assert/strict";
import test from "node:test";

import { Insertions, isOfComposition } from "../src/insertions.ts";

const EMOJI = { inputType: "insertText", data: "\ud83d\ude00", isComposing: false };

test("steps of a composition are no text of their own", () => {
  assert.equal(isOfComposition(EMOJI), false);
  assert.equal(isOfComposition({ ...EMOJI, isComposing: true }), true);
  // Firefox after compositionend, Safari before it.
  for (const inputType of ["insertCompositionText", "insertFromComposition", "deleteCompositionText"]) {
    assert.equal(isOfComposition({ ...EMOJI, inputType }), true, inputType);
  }
});

test("text without a key is found, and that of keys is left", () => {
  const insertions = new Insertions();
  assert.equal(insertions.input(EMOJI), EMOJI.data);
  assert.equal(insertions.input({ ...EMOJI, inputType: "insertFromPaste" }), undefined);
  assert.equal(insertions.input({ ...EMOJI, data: null }), undefined);
  // Two keys, the second one before the first is up.
  insertions.keyDown();
  assert.equal(insertions.input({ ...EMOJI, data: "a" }), undefined);
  insertions.keyDown();
  assert.equal(insertions.input({ ...EMOJI, data: "b" }), undefined);
  insertions.keyUp();
  insertions.keyUp();
  assert.equal(insertions.input(EMOJI), EMOJI.data);
  // A key that gives no text.
  insertions.keyDown();
  insertions.keyUp();
  assert.equal(insertions.input(EMOJI), EMOJI.data);
});
