import assert from "node:assert/strict";
import test from "node:test";

import { isComposed, keysOnlyWarning, withoutKey } from "../src/composition.ts";

test("keys that an input method works on are not the machine's", () => {
  const plain = { isComposing: false, key: "a", keyCode: 65 };
  assert.equal(isComposed(plain), false);
  assert.equal(isComposed({ ...plain, key: "Enter", keyCode: 13 }), false);
  for (const part of [{ isComposing: true }, { keyCode: 229 }, { key: "Process" }, { key: "Dead" }, { key: "Unidentified" }]) {
    assert.equal(isComposed({ ...plain, ...part }), true, JSON.stringify(part));
  }
});

test("characters without a key are named once", () => {
  assert.equal(withoutKey("Grüße"), "");
  assert.equal(withoutKey("a你好b你😀"), "你好😀");
  assert.equal(keysOnlyWarning("hello"), undefined);
  assert.match(keysOnlyWarning("早上好 hello") ?? "", /may not get: 早上好 /);
});
