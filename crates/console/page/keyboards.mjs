// Writes src/keyboards.ts: which key of a keyboard layout gives which character, out of X's own layouts (xkeyboard-config).
// Run it by hand (node keyboards.mjs) where xkbcomp, xkb-data and X11/keysymdef.h are (Debian: x11-xkb-utils, xkb-data,
// x11proto-dev). X's layouts are those of Linux guests, also of their text consoles. X gives AltGr many characters that no key
// shows and that Windows does not have; of AltGr only what is printed on the keys is taken, and it must be the same in X.

import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";

const LAYOUTS = { us: "English (US)", gb: "English (UK)", de: "German", fr: "French", jp: "Japanese", es: "Spanish", it: "Italian" };

/** KeyboardEvent.code (W3C) of X's names of keys. */
const KEYS = [
  ["TLDE", "Backquote"],
  ...row("AE", ["Digit1", "Digit2", "Digit3", "Digit4", "Digit5", "Digit6", "Digit7", "Digit8", "Digit9", "Digit0", "Minus", "Equal", "IntlYen"]),
  ...row("AD", ["KeyQ", "KeyW", "KeyE", "KeyR", "KeyT", "KeyY", "KeyU", "KeyI", "KeyO", "KeyP", "BracketLeft", "BracketRight"]),
  ...row("AC", ["KeyA", "KeyS", "KeyD", "KeyF", "KeyG", "KeyH", "KeyJ", "KeyK", "KeyL", "Semicolon", "Quote"]),
  ["BKSL", "Backslash"],
  ["LSGT", "IntlBackslash"],
  ...row("AB", ["KeyZ", "KeyX", "KeyC", "KeyV", "KeyB", "KeyN", "KeyM", "Comma", "Period", "Slash", "IntlRo"]),
];

const LEVELS = ["plain", "shift", "altGr", "shiftAltGr"];

/** Combining characters of Unicode in place of dead keys. */
const DEAD = { dead_grave: "\u0300", dead_acute: "\u0301", dead_circumflex: "\u0302", dead_tilde: "\u0303", dead_diaeresis: "\u0308" };

/** What AltGr gives by what is printed on the keys. */
const PRINTED = {
  gb: { altGr: "Digit4 €" },
  de: { altGr: "KeyQ @ KeyE € KeyM µ Digit2 ² Digit3 ³ Digit7 { Digit8 [ Digit9 ] Digit0 } Minus \\ BracketRight ~ IntlBackslash |" },
  fr: { altGr: "Digit2 ~ Digit3 # Digit4 { Digit5 [ Digit6 | Digit7 ` Digit8 \\ Digit9 ^ Digit0 @ Minus ] Equal } KeyE €" },
  es: { altGr: "Digit1 | Digit2 @ Digit3 # Digit4 ~ Backquote \\ BracketLeft [ BracketRight ] Quote { Backslash } KeyE €" },
  it: { altGr: "Semicolon @ Quote # BracketLeft [ BracketRight ] KeyE € Minus ` Equal ~", shiftAltGr: "BracketLeft { BracketRight }" },
};

/** What X gives to keys without it being printed there: American and Japanese keyboards have no key beside the left Shift. */
const ABSENT = {
  us: ["IntlBackslash plain", "IntlBackslash shift"],
  jp: ["IntlBackslash plain", "IntlBackslash shift", "Digit0 shift"],
  fr: ["Backquote shift"],
};

function row(name, codes) {
  return codes.map((code, at) => [`${name}${String(at + 1).padStart(2, "0")}`, code]);
}

/** Names of keysyms that are characters. */
function characters() {
  const known = new Map([["EuroSign", "€"]]);
  for (const [, name, code] of readFileSync("/usr/include/X11/keysymdef.h", "utf8").matchAll(/#define XK_(\w+)\s+0x0([0-9a-f]{3})\b/g)) {
    const value = Number.parseInt(code, 16);
    if (value >= 0x20 && value <= 0xff) {
      known.set(name, String.fromCharCode(value));
    }
  }
  return new Map([...known, ...Object.entries(DEAD)]);
}

function compiled(layout) {
  const keymap = `xkb_keymap {
    xkb_keycodes { include "evdev+aliases(qwerty)" };
    xkb_types { include "complete" };
    xkb_compat { include "complete" };
    xkb_symbols { include "pc+${layout}+inet(evdev)" };
  };`;
  return execFileSync("xkbcomp", ["-w0", "-xkb", "-", "-"], { input: keymap, encoding: "utf8" });
}

function levels(layout, known) {
  const text = compiled(layout).replaceAll("symbols[Group1]=", "");
  return LEVELS.map((level, at) => {
    const words = (PRINTED[layout]?.[level] ?? "").split(" ");
    const printed = new Map(words.flatMap((word, index) => (index % 2 === 0 ? [[word, words[index + 1]]] : [])));
    const found = KEYS.map(([name, code]) => {
      const symbols = new RegExp(`key <${name}> \\{[^}]*?\\[([^\\]]*)\\]`).exec(text)?.[1].split(",") ?? [];
      const character = known.get(symbols[at]?.trim());
      if (printed.has(code) && printed.get(code) !== character) {
        throw new Error(`${layout}: ${level} of ${code} is ${character} in X`);
      }
      const isTaken = at < 2 ? !ABSENT[layout]?.includes(`${code} ${level}`) : printed.has(code);
      return isTaken ? (character ?? " ") : " ";
    });
    return [level, found.join("").trimEnd()];
  }).filter(([, found]) => found !== "");
}

/** As TypeScript, in ASCII: a combining character would be drawn over the quotation mark. */
function quoted(text) {
  return JSON.stringify(text).replace(/[\u0080-\uffff]/g, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

const known = characters();
const entries = Object.entries(LAYOUTS).map(([layout, name]) => {
  const lines = levels(layout, known).map(([level, text]) => `    ${level}: ${quoted(text)},\n`);
  return `  ${layout}: {\n    name: ${JSON.stringify(name)},\n${lines.join("")}  },\n`;
});
const version = execFileSync("dpkg-query", ["--show", "--showformat=${Version}", "xkb-data"], { encoding: "utf8" });
const codes = JSON.stringify(KEYS.map(([, code]) => code)).slice(1, -1).replaceAll(",", ", ").replace(/(.{1,110}), /g, "$1,\n  ");
const text = `// Written by keyboards.mjs from xkeyboard-config (Debian's xkb-data ${version}).

/** KeyboardEvent.code of the keys that give characters, in the order of the strings below. */
export const CODES: readonly string[] = [
  ${codes},
];

/** What the keys give. A space is a key without a character, a combining character a dead key. */
export interface Layout {
  readonly name: string;
  readonly plain: string;
  readonly shift: string;
  readonly altGr?: string;
  readonly shiftAltGr?: string;
}

/** By the names that X gives to layouts. */
export const LAYOUTS: Readonly<Record<string, Layout>> = {
${entries.join("")}};
`;
writeFileSync(new URL("src/keyboards.ts", import.meta.url), text);
