import assert from "node:assert/strict";
import test from "node:test";

import { isComposed, keysOnlyWarning } from "../src/composition.ts";

test("keys that an input method works on are not the machine's", () => {
  const plain = { isComposing: false, key: "a", keyCode: 65 };
  assert.equal(isComposed(plain), false);
  assert.equal(isComposed({ ...plain, key: "Enter", keyCode: 13 }), false);
  for (const part of [{ isComposing: true }, { keyCode: 229 }, { key: "Process" }, { key: "Dead" }, { key: "Unidentified" }]) {
    assert.equal(isComposed({ ...plain, ...part }), true, JSON.stringify(part));
  }
});

test("characters without a key are named, as far as there is room", () => {
  assert.match(keysOnlyWarning("\u65e9\u4e0a", "German"), /keyboard \(German\) gives \u65e9 \u4e0a, so these/);
  const many = String.fromCodePoint(...Array.from({ length: 50 }, (_, at) => 0x4e00 + at));
  assert.match(keysOnlyWarning(many, "German"), / \u4e27 and 10 more, so/);
});
