// Which keys of a keyboard give a text.
//
// The screen of a virtual machine takes the places of keys (scan codes, by QEMU's extended key event), and the guest's own
// layout says what they mean. So whoever hands in text has to know that layout.

import { CODES, type Layout } from "./keyboards.ts";

/** A key that goes down or up. */
export interface Stroke {
  /** Its place: KeyboardEvent.code. */
  readonly code: string;
  /** Its X11 keysym, for servers that take no places. 0 where it has none. */
  readonly keysym: number;
  readonly down: boolean;
}

/** A key, and what is held down with it. */
interface Chord {
  readonly code: string;
  readonly keysym: number;
  readonly shift: boolean;
  readonly altGr: boolean;
}

/** X11 keysyms (X11/keysymdef.h) of what on-screen keyboards send beside characters. */
const KEYSYMS: ReadonlyMap<string, number> = new Map([
  ["\b", 0xff08],
  ["\t", 0xff09],
  ["\n", 0xff0d],
]);

/** The keysym of a character: Latin-1 as it is, all others by their Unicode number (X11/keysymdef.h). */
export function keysym(character: string): number {
  const code = character.codePointAt(0) ?? 0;
  return KEYSYMS.get(character) ?? (code < 0x100 ? code : 0x0100_0000 + code);
}

const MODIFIERS: ReadonlyMap<string, number> = new Map([
  ["ShiftLeft", 0xffe1],
  ["ShiftRight", 0xffe2],
  ["AltLeft", 0xffe9],
  ["AltRight", 0xfe03],
]);

function isShift(code: string): boolean {
  return code === "ShiftLeft" || code === "ShiftRight";
}

/** Dead keys are written as combining characters. */
export function isDead(character: string): boolean {
  return /^[\u0300-\u036f]$/.test(character);
}

/** What is at the same place on all keyboards. */
const COMMON: readonly (readonly [string, string])[] = [
  ["\b", "Backspace"],
  ["\t", "Tab"],
  ["\n", "Enter"],
  [" ", "Space"],
];

/** What a dead key gives with a space, in all guests alike. An acute accent is none of it: X gives an apostrophe. */
const ALONE: ReadonlyMap<string, string> = new Map([
  ["`", " \u0300"],
  ["^", " \u0302"],
  ["~", " \u0303"],
]);

/** What a dead key and a letter give in all guests: Windows and Linux' console have few combinations beyond Latin-1. */
const LAST_COMBINED = "\u00ff";

function modifier(code: string, down: boolean): Stroke {
  return { code, keysym: MODIFIERS.get(code) ?? 0, down };
}

/** Presses and releases a key, while these modifiers are down already. */
function pressed({ code, keysym, shift, altGr }: Chord, held: readonly string[]): Stroke[] {
  const isWanted = (one: string): boolean => (isShift(one) ? shift : one === "AltRight" && altGr);
  const lifted = held.filter((one) => !isWanted(one));
  const added = [
    ...(shift && !held.some(isShift) ? ["ShiftLeft"] : []),
    ...(altGr && !held.includes("AltRight") ? ["AltRight"] : []),
  ];
  return [
    ...lifted.map((one) => modifier(one, false)),
    ...added.map((one) => modifier(one, true)),
    { code, keysym, down: true },
    { code, keysym, down: false },
    ...[...added].reverse().map((one) => modifier(one, false)),
    ...lifted.map((one) => modifier(one, true)),
  ];
}

/** What is around a key that is pressed. */
export interface Around {
  /** The modifiers that are down in the guest: codes of Shift, AltGr and, on a Mac, Option. */
  readonly held?: readonly string[];
  /** Whether Caps Lock is on in the guest. */
  readonly capsLock?: boolean;
}

/** The keys of a text, those of each character together, and the characters that have none, each once. */
export interface Typed {
  readonly keys: readonly (readonly Stroke[])[];
  readonly missing: string;
}

/** The keyboard of a guest. */
export class GuestKeyboard {
  readonly name: string;
  readonly #levels: readonly (readonly string[])[];
  readonly #chords = new Map<string, Chord>(
    COMMON.map(([character, code]) => [character, { code, keysym: keysym(character), shift: false, altGr: false }]),
  );

  constructor({ name, plain, shift, altGr = "", shiftAltGr = "" }: Layout) {
    this.name = name;
    this.#levels = [plain, shift, altGr, shiftAltGr].map((level) => [...level]);
    this.#levels.forEach((level, index) => {
      level.forEach((character, place) => {
        const code = CODES[place];
        // The first is that with the fewest modifiers.
        if (code !== undefined && !this.#chords.has(character)) {
          const symbol = isDead(character) ? 0 : keysym(character);
          this.#chords.set(character, { code, keysym: symbol, shift: index % 2 === 1, altGr: index >= 2 });
        }
      });
    });
  }

  /** What the key at this place gives; empty when that is no character. */
  at(code: string, shift: boolean, altGr: boolean): string {
    const character = this.#levels[(altGr ? 2 : 0) + (shift ? 1 : 0)]?.[CODES.indexOf(code)] ?? "";
    return character === " " ? "" : character;
  }

  /** The keys that give a character; `undefined` when none do. */
  press(character: string, { held = [], capsLock = false }: Around = {}): Stroke[] | undefined {
    return this.#chordsOf(character)?.flatMap((chord) => pressed(capsLock ? this.#withCapsLock(chord) : chord, held));
  }

  /** The keys that give a text. */
  type(text: string, around: Around = {}): Typed {
    const keys: Stroke[][] = [];
    const missing = new Set<string>();
    for (const character of text.normalize("NFC")) {
      const strokes = this.press(character, around);
      if (strokes === undefined) {
        missing.add(character);
      } else {
        keys.push(strokes);
      }
    }
    return { keys, missing: [...missing].join("") };
  }

  #chordsOf(character: string): readonly Chord[] | undefined {
    const own = isDead(character) ? undefined : this.#chords.get(character);
    if (own !== undefined) {
      return [own];
    }
    const [letter = "", mark = "", ...more] = ALONE.get(character) ?? character.normalize("NFD");
    const dead = this.#chords.get(mark);
    const base = this.#chords.get(letter);
    const isCombined = character <= LAST_COMBINED && more.length === 0 && isDead(mark);
    return isCombined && dead !== undefined && base !== undefined ? [dead, base] : undefined;
  }

  /** Caps Lock exchanges the two cases of a letter, where both are on one key. */
  #withCapsLock(chord: Chord): Chord {
    const small = this.at(chord.code, false, false);
    const isLetter = small.toUpperCase() !== small && small.toUpperCase() === this.at(chord.code, true, false);
    return isLetter && !chord.altGr ? { ...chord, shift: !chord.shift } : chord;
  }
}
