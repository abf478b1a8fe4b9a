import assert from "node:assert/strict";
import test from "node:test";

import { LAYOUTS } from "../src/keyboards.ts";
import { GuestKeyboard, keysym, type Stroke } from "../src/keystrokes.ts";

function keyboard(name: string): GuestKeyboard {
  const layout = LAYOUTS[name];
  assert.ok(layout, name);
  return new GuestKeyboard(layout);
}

/** The keys that go down, those of a chord joined; all of them go up again. */
function chords(strokes: readonly Stroke[]): string {
  const down: string[] = [];
  const found: string[] = [];
  let chord: string[] = [];
  for (const stroke of strokes) {
    if (stroke.down) {
      down.push(stroke.code);
      chord.push(stroke.code);
    } else {
      assert.equal(down.pop(), stroke.code, "they go up in the opposite order");
    }
    if (down.length === 0) {
      found.push(chord.join("+"));
      chord = [];
    }
  }
  assert.deepEqual(down, []);
  return found.join(" ");
}

/** What is printed on keyboards, written down by hand: the tables come from elsewhere. */
const PRINTED: readonly (readonly [string, Readonly<Record<string, string>>])[] = [
  ["us", { z: "KeyZ", '"': "ShiftLeft+Quote", "@": "ShiftLeft+Digit2", "\n": "Enter", "\t": "Tab", " ": "Space", "<": "ShiftLeft+Comma" }],
  ["gb", { '"': "ShiftLeft+Digit2", "@": "ShiftLeft+Quote", "\u00a3": "ShiftLeft+Digit3", "#": "Backslash", "\\": "IntlBackslash", "\u20ac": "AltRight+Digit4" }],
  [
    "de",
    {
      z: "KeyY",
      Y: "ShiftLeft+KeyZ",
      "@": "AltRight+KeyQ",
      "\u20ac": "AltRight+KeyE",
      "{": "AltRight+Digit7",
      "\\": "AltRight+Minus",
      "\u00df": "Minus",
      "\u00c4": "ShiftLeft+Quote",
      "-": "Slash",
      "'": "ShiftLeft+Backslash",
      "\u00e9": "Equal KeyE",
      "\u00c8": "ShiftLeft+Equal ShiftLeft+KeyE",
      "^": "Backquote Space",
      "`": "ShiftLeft+Equal Space",
    },
  ],
  [
    "fr",
    {
      a: "KeyQ",
      m: "Semicolon",
      "1": "ShiftLeft+Digit1",
      "\u00e9": "Digit2",
      "\u00ea": "BracketLeft KeyE",
      "\u00eb": "ShiftLeft+BracketLeft KeyE",
      "@": "AltRight+Digit0",
      ".": "ShiftLeft+Comma",
    },
  ],
  ["jp", { "@": "BracketLeft", _: "ShiftLeft+IntlRo", "|": "ShiftLeft+IntlYen", "^": "Equal", "~": "ShiftLeft+Equal", ":": "Quote", '"': "ShiftLeft+Digit2" }],
  ["es", { "\u00f1": "Semicolon", "\u00e1": "Quote KeyA", "\u00bf": "ShiftLeft+Equal", "@": "AltRight+Digit2", "{": "AltRight+Quote", "|": "AltRight+Digit1" }],
  ["it", { "\u00e8": "BracketLeft", "@": "AltRight+Semicolon", "#": "AltRight+Quote", "{": "ShiftLeft+AltRight+BracketLeft" }],
];

test("a character is the keys that it is printed on", () => {
  for (const [name, expected] of PRINTED) {
    for (const [character, keys] of Object.entries(expected)) {
      assert.equal(chords(keyboard(name).press(character) ?? []), keys, `${name} ${character}`);
    }
  }
});

test("all of ASCII can be typed on each", () => {
  const ascii = String.fromCharCode(...Array.from({ length: 0x5f }, (_, at) => 0x20 + at));
  for (const name of Object.keys(LAYOUTS)) {
    assert.equal(keyboard(name).type(`${ascii}\n\t`).missing, "", name);
  }
});

test("characters without a key are named once", () => {
  assert.equal(keyboard("de").type("Gr\u00fc\u00dfe").missing, "");
  // An accent that is a character of its own is the same letter.
  assert.deepEqual(keyboard("de").type("e\u0301"), keyboard("de").type("\u00e9"));
  const { keys, missing } = keyboard("us").type("a\u4f60\u597db\u4f60\ud83d\ude00\u00e9");
  assert.equal(missing, "\u4f60\u597d\ud83d\ude00\u00e9");
  assert.equal(keys.length, 2);
  // No keyboard gives these in all guests alike.
  assert.equal(keyboard("de").type("\u00b4\u0302\u1e91").missing, "\u00b4\u0302\u1e91");
  assert.equal(keyboard("jp").type("\u00a5\u3042").missing, "\u00a5\u3042");
});

test("modifiers that are down are taken into account", () => {
  const codes = (strokes: readonly Stroke[] = []): string[] => strokes.map(({ code, down }) => (down ? "+" : "-") + code);
  const german = keyboard("de");
  assert.deepEqual(codes(german.press("@", { held: ["ShiftRight"] })), [
    "-ShiftRight", "+AltRight", "+KeyQ", "-KeyQ", "-AltRight", "+ShiftRight",
  ]);
  assert.deepEqual(codes(german.press("Z", { held: ["ShiftRight"] })), ["+KeyY", "-KeyY"]);
  assert.deepEqual(codes(german.press("z", { held: ["AltLeft"] })), ["-AltLeft", "+KeyY", "-KeyY", "+AltLeft"]);
});

test("Caps Lock in the guest exchanges the cases of letters alone", () => {
  const press = (name: string, character: string): string => chords(keyboard(name).press(character, { capsLock: true }) ?? []);
  assert.equal(press("de", "z"), "ShiftLeft+KeyY");
  assert.equal(press("de", "\u00c4"), "Quote");
  assert.equal(press("de", "1"), "Digit1");
  assert.equal(press("de", "\u00e9"), "Equal ShiftLeft+KeyE");
  assert.equal(press("fr", "\u00e9"), "Digit2");
  assert.equal(press("de", "@"), "AltRight+KeyQ");
});

test("servers that take no places get keysyms", () => {
  assert.deepEqual(["a", "\u00e9", "\u4f60", "\n"].map(keysym), [0x61, 0xe9, 0x0100_4f60, 0xff0d]);
  assert.deepEqual(keyboard("us").press("!")?.map(({ keysym: symbol }) => symbol), [0xffe1, 0x21, 0x21, 0xffe1]);
});
