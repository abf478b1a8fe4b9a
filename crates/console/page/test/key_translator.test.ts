import assert from "node:assert/strict";
import test from "node:test";

import { LAYOUTS } from "../src/keyboards.ts";
import { GuestKeyboard } from "../src/keystrokes.ts";
import { KeyTranslator, type PressedKey } from "../src/key_translator.ts";

function translator(name: string, isMac = false): KeyTranslator {
  const layout = LAYOUTS[name];
  assert.ok(layout, name);
  return new KeyTranslator(new GuestKeyboard(layout), isMac);
}

function key(code: string, given: string, rest: Partial<PressedKey> = {}): PressedKey {
  return { code, key: given, shift: false, altGr: false, capsLock: false, ...rest };
}

function codes(strokes: ReturnType<KeyTranslator["down"]>): string[] | undefined {
  return strokes?.map(({ code, down }) => (down ? "+" : "-") + code);
}

test("a key of the same meaning goes as it is", () => {
  const german = translator("de");
  for (const pressed of [
    key("KeyA", "a"),
    key("KeyY", "z"),
    key("KeyQ", "@", { altGr: true }),
    key("KeyA", "A", { capsLock: true }),
    key("Enter", "Enter"),
    key("Space", " "),
    key("F1", "F1"),
    key("Numpad1", "1"),
    key("ControlLeft", "Control"),
  ]) {
    assert.equal(german.down(pressed), undefined, pressed.code);
    assert.equal(german.up(pressed.code), false, pressed.code);
  }
  // No key gives it: its place is as good as any.
  assert.equal(german.down(key("KeyF", "\u0430")), undefined);
});

test("an American keyboard at a German guest", () => {
  const german = translator("de");
  assert.deepEqual(codes(german.down(key("KeyZ", "z"))), ["+KeyY", "-KeyY"]);
  assert.equal(german.up("KeyZ"), true);
  assert.equal(german.up("KeyZ"), false);
  german.down(key("ShiftLeft", "Shift", { shift: true }));
  assert.deepEqual(codes(german.down(key("Digit2", "@", { shift: true }))), [
    "-ShiftLeft", "+AltRight", "+KeyQ", "-KeyQ", "-AltRight", "+ShiftLeft",
  ]);
  german.up("ShiftLeft");
  assert.deepEqual(codes(german.down(key("Slash", "/"))), ["+ShiftLeft", "+Digit7", "-Digit7", "-ShiftLeft"]);
});

test("what is down is forgotten with the focus", () => {
  const german = translator("de");
  german.down(key("ShiftLeft", "Shift", { shift: true }));
  german.down(key("KeyZ", "Z", { shift: true }));
  german.lost();
  assert.equal(german.up("KeyZ"), false);
  assert.deepEqual(codes(german.down(key("KeyZ", "z"))), ["+KeyY", "-KeyY"]);
});

test("a dead key is the guest's where it has one there, else only its character counts", () => {
  const german = translator("de");
  assert.equal(german.down(key("Backquote", "Dead")), undefined);
  assert.equal(german.down(key("KeyE", "\u00ea")), undefined);
  const french = translator("fr");
  assert.deepEqual(french.down(key("Backquote", "Dead")), []);
  assert.equal(french.up("Backquote"), true);
  assert.deepEqual(codes(french.down(key("KeyE", "\u00ea"))), ["+BracketLeft", "-BracketLeft", "+KeyE", "-KeyE"]);
});

test("Caps Lock is the guest's where that is known", () => {
  const german = translator("de");
  assert.deepEqual(codes(german.down(key("KeyZ", "Z", { capsLock: true }))), ["+KeyY", "-KeyY"]);
  assert.deepEqual(codes(german.down(key("KeyZ", "Z", { capsLock: true }), false)), [
    "+ShiftLeft", "+KeyY", "-KeyY", "-ShiftLeft",
  ]);
});

test("a Mac's Option key chooses characters", () => {
  const german = translator("de", true);
  german.down(key("AltLeft", "Alt", { altGr: true }));
  assert.deepEqual(codes(german.down(key("KeyL", "@", { altGr: true }))), [
    "-AltLeft", "+AltRight", "+KeyQ", "-KeyQ", "-AltRight", "+AltLeft",
  ]);
});
