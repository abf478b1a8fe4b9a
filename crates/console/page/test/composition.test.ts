import assert from "node:assert/strict";
import test from "node:test";

import { isComposed, keysOnlyWarning } from "../src/composition.ts";
import { WORDS } from "../src/words.ts";

test("keys that an input method works on are not the machine's", () => {
  const plain = { isComposing: false, key: "a", keyCode: 65 };
  assert.equal(isComposed(plain), false);
  assert.equal(isComposed({ ...plain, key: "Enter", keyCode: 13 }), false);
  for (const part of [{ isComposing: true }, { keyCode: 229 }, { key: "Process" }, { key: "Dead" }, { key: "Unidentified" }]) {
    assert.equal(isComposed({ ...plain, ...part }), true, JSON.stringify(part));
  }
});

test("characters without a key are named, as far as there is room", () => {
  assert.match(keysOnlyWarning("\u65e9\u4e0a", "German", WORDS.en), /keyboard \(German\) gives \u65e9 \u4e0a, so these/);
  const many = String.fromCodePoint(...Array.from({ length: 50 }, (_, at) => 0x4e00 + at));
  assert.match(keysOnlyWarning(many, "German", WORDS.en), / \u4e27 and 10 more, so/);
  assert.match(keysOnlyWarning(many, WORDS.zh.layouts.de, WORDS.zh), /（德语）.* \u4e27 以及另外 10 个字符/);
});
