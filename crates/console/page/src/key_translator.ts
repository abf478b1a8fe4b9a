// Keys of a person whose keyboard has another layout than the guest's.

import { CODES } from "./keyboards.ts";
import { type GuestKeyboard, isDead, type Stroke } from "./keystrokes.ts";

/** A key that a person pressed, and what it gave them. */
export interface PressedKey {
  readonly code: string;
  readonly key: string;
  readonly shift: boolean;
  readonly altGr: boolean;
  readonly capsLock: boolean;
}

/** Modifiers that choose a character. */
const CHOOSING = ["ShiftLeft", "ShiftRight", "AltRight"];

/** What a Mac's Option key is sent as; it chooses characters there. */
const OPTION = "AltLeft";

/**
 * Replaces keys that would give another character in the guest than they gave the person. All others go as they are, by their
 * place, so that they can be held and have their shortcuts.
 */
export class KeyTranslator {
  readonly #keyboard: GuestKeyboard;
  readonly #choosing: readonly string[];
  readonly #held = new Set<string>();
  readonly #replaced = new Set<string>();
  /** The last key was a dead one, in the guest too. */
  #wasDead = false;

  constructor(keyboard: GuestKeyboard, isMac: boolean) {
    this.#keyboard = keyboard;
    this.#choosing = isMac ? [...CHOOSING, OPTION] : CHOOSING;
  }

  /** What is sent in place of a key that goes down; `undefined` when it goes as it is. `capsLock` is the guest's, if it is known. */
  down(pressed: PressedKey, capsLock?: boolean): readonly Stroke[] | undefined {
    const { code, key } = pressed;
    if (this.#choosing.includes(code)) {
      this.#held.add(code);
      return undefined;
    }
    const isCharacter = [...key].length === 1;
    if (!CODES.includes(code) || (!isCharacter && key !== "Dead")) {
      return undefined;
    }
    const strokes = this.#instead(pressed, capsLock);
    if (strokes !== undefined) {
      this.#replaced.add(code);
    }
    return strokes;
  }

  /** Whether a key that goes up was replaced when it went down. */
  up(code: string): boolean {
    this.#held.delete(code);
    return this.#replaced.delete(code);
  }

  /** Keys that go up now are not seen. */
  lost(): void {
    this.#held.clear();
    this.#replaced.clear();
    this.#wasDead = false;
  }

  #instead({ code, key, shift, altGr, capsLock: own }: PressedKey, capsLock: boolean | undefined): readonly Stroke[] | undefined {
    const here = this.#keyboard.at(code, shift, altGr);
    const wasDead = this.#wasDead;
    this.#wasDead = key === "Dead" && isDead(here);
    if (key === "Dead") {
      // Which one it is, only the next character says.
      return this.#wasDead ? undefined : [];
    }
    const letter = wasDead ? (key.normalize("NFD")[0] ?? key) : key;
    const isSame = here === letter || (own && here.toLowerCase() === letter.toLowerCase());
    return isSame ? undefined : this.#keyboard.press(key, { held: [...this.#held], capsLock: capsLock ?? own });
  }
}
