import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import { CLOSE_CODES } from "../src/close_codes.ts";
import { LAYOUTS } from "../src/keyboards.ts";
import { explain, type Step } from "../src/reconnect.ts";
import { languageOf, WORDS, wantedLanguages } from "../src/words.ts";

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

test("the address may ask for a language before the browser does", () => {
  const speaks = (query: string): string => languageOf(wantedLanguages(query, ["en-US"]));
  assert.equal(speaks("?lang=zh"), "zh");
  assert.equal(speaks("?lang=zh-TW&x=1"), "zh");
  assert.equal(speaks("?lang=de"), "en");
  assert.equal(speaks("?lang="), "en");
  assert.equal(speaks(""), "en");
});

/** The keys of what is said, and at their ends whether it is a text or made of something. */
function shape(words: unknown): unknown {
  if (typeof words !== "object" || words === null) {
    return typeof words;
  }
  const entries = Object.entries(words).sort(([one], [other]) => (one < other ? -1 : 1));
  return entries.map(([key, value]) => [key, shape(value)]);
}

/** All texts, with the keys that lead to them. */
function texts(words: object, path = ""): [string, string][] {
  return Object.entries(words).flatMap(([key, value]: [string, unknown]): [string, string][] => {
    if (typeof value === "string") {
      return [[`${path}${key}`, value]];
    }
    return typeof value === "object" && value !== null ? texts(value, `${path}${key}.`) : [];
  });
}

test("both languages say the same things", () => {
  assert.deepEqual(shape(WORDS.zh), shape(WORDS.en));
  for (const [path, text] of texts(WORDS.zh)) {
    assert.ok(path === "language" || HAN.test(text), `${path}: ${text}`);
  }
  for (const [path, text] of texts(WORDS.en)) {
    assert.ok(text !== "" && !HAN.test(text), `${path}: ${text}`);
  }
  const { zh } = WORDS;
  const made = [
    zh.again("", 3),
    zh.waited(3),
    zh.onlyFirst(3),
    zh.guest("x"),
    zh.noKey("x", "y", 1),
    zh.sshText("x"),
    zh.broke("refused", undefined),
    ...Object.values(zh.sleeps).map((sleep) => sleep("17:05")),
  ];
  for (const text of made) {
    assert.ok(HAN.test(text), text);
  }
  assert.equal(WORDS.en.broke("notRfb", "too many"), "The console broke: too many.");
});

test("the names of layouts are those of the keyboards", () => {
  const named = Object.entries(LAYOUTS).map(([layout, { name }]) => [layout, name]);
  assert.deepEqual(Object.entries(WORDS.en.layouts), named);
});

test("index.html has what is labelled, in English", () => {
  // npm runs tests in the folder of package.json.
  const html = readFileSync("src/index.html", "utf8");
  const tag = (id: string): string => new RegExp(`<[a-z]+\\s[^>]*\\bid="${id}"[^>]*>([^<]*)<`).exec(html)?.[0] ?? "";
  for (const [id, text] of Object.entries(WORDS.en.labels)) {
    assert.ok(tag(id).endsWith(`>${text}<`), `${id}: ${tag(id)}`);
  }
  for (const [id, name] of Object.entries(WORDS.en.names)) {
    assert.ok(tag(id).includes(`aria-label="${name}"`), `${id}: ${tag(id)}`);
  }
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
