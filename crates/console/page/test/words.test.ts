import assert from "node:assert/strict";
import test from "node:test";

import { CLOSE_CODES } from "../src/close_codes.ts";
import { explain, type Step } from "../src/reconnect.ts";
import { languageOf, WORDS } from "../src/words.ts";

const STEPS: readonly Step[] = [
  { kind: "retry", seconds: 1 },
  { kind: "return", seconds: 1 },
  { kind: "renew", seconds: 1 },
  { kind: "rest" },
  { kind: "moved" },
  { kind: "ask", again: false },
  { kind: "ask", again: true },
  { kind: "over" },
];

const HAN = /\p{Script=Han}/u;

test("the browser's first language that the page speaks is spoken", () => {
  assert.equal(languageOf(["zh-CN", "en"]), "zh");
  assert.equal(languageOf(["zh-Hant-TW"]), "zh");
  assert.equal(languageOf(["en-GB", "zh"]), "en");
  assert.equal(languageOf(["de-DE", "zh"]), "zh");
  assert.equal(languageOf(["de"]), "en");
  assert.equal(languageOf([]), "en");
});

test("every end is said in both languages", () => {
  const ends = [...CLOSE_CODES.keys()].map((code) => explain(code, true));
  ends.push(explain(1006, true), explain(1006, false));
  for (const why of ends) {
    assert.equal(WORDS.en.sentence(why), why.sentence);
    const chinese = WORDS.zh.sentence(why);
    assert.ok(HAN.test(chinese) && chinese.endsWith("。"), `${why.reason}: ${chinese}`);
  }
  // A reason of a later gateway.
  assert.equal(WORDS.zh.sentence(explain(1009, true)), "The console was closed with code 1009.");
});

test("what to do is said in both languages", () => {
  for (const step of STEPS) {
    const why = explain(4046, true);
    assert.ok(WORDS.en.advice(step, why).endsWith("."), step.kind);
    assert.ok(HAN.test(WORDS.zh.advice(step, why)), step.kind);
  }
  const ask: Step = { kind: "ask", again: false };
  assert.match(WORDS.en.advice(ask, explain(4046, true)), /waits for a few minutes/);
  assert.match(WORDS.zh.advice(ask, explain(4046, true)), /几分钟/);
  assert.match(WORDS.en.advice({ kind: "moved" }, explain(4008, true)), /one tab at a time/);
});
