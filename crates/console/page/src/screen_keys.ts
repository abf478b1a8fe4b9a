// The keys of a screen: in their order, and where the guest has another layout than the person, those of the guest.

import { KeyTranslator, type PressedKey } from "./key_translator.ts";
import type { GuestKeyboard, Stroke } from "./keystrokes.ts";
import { Typing } from "./typing.ts";

/** A copy that can be sent elsewhere. Locks are no properties of an event, so they are not copied with it. */
export function copied(event: KeyboardEvent): KeyboardEvent {
  const { key, code, location, repeat, ctrlKey, shiftKey, altKey, metaKey } = event;
  return new KeyboardEvent(event.type, {
    key,
    code,
    location,
    repeat,
    ctrlKey,
    shiftKey,
    altKey,
    metaKey,
    modifierAltGraph: event.getModifierState("AltGraph"),
    modifierCapsLock: event.getModifierState("CapsLock"),
    modifierNumLock: event.getModifierState("NumLock"),
  });
}

const IS_MAC = /^(Mac|iP)/.test(navigator.platform);

function pressedKey(event: KeyboardEvent): PressedKey {
  return {
    code: event.code,
    key: event.key,
    shift: event.shiftKey,
    altGr: event.getModifierState("AltGraph") || (IS_MAC && event.altKey),
    capsLock: event.getModifierState("CapsLock"),
  };
}

/** Looks at the keys of a screen before noVNC does, which listens at the canvas in it. */
export class ScreenKeys {
  readonly typing: Typing;
  readonly #send: (stroke: Stroke) => void;
  readonly #capsLock: () => boolean | undefined;
  readonly #over = new AbortController();
  /** Those that have waited. */
  readonly #late = new WeakSet<Event>();
  #keyboard: GuestKeyboard | undefined;
  #translator: KeyTranslator | undefined;

  constructor(target: HTMLElement, send: (stroke: Stroke) => void, capsLock: () => boolean | undefined) {
    this.typing = new Typing(send);
    this.#send = send;
    this.#capsLock = capsLock;
    const { signal } = this.#over;
    for (const type of ["keydown", "keyup"] as const) {
      const listener = (event: KeyboardEvent): void => {
        if (this.#waits(event) || this.#replaces(event)) {
          event.preventDefault();
          event.stopPropagation();
        }
      };
      target.addEventListener(type, listener, { capture: true, signal });
    }
    window.addEventListener("blur", () => this.#translator?.lost(), { signal });
  }

  /** Replaces keys that mean something else on this keyboard from now on. */
  translate(keyboard: GuestKeyboard | undefined): void {
    if (keyboard !== this.#keyboard) {
      this.#keyboard = keyboard;
      this.#translator = keyboard && new KeyTranslator(keyboard, IS_MAC);
    }
  }

  end(): void {
    this.typing.stop();
    this.#over.abort();
  }

  /** A key that follows a text comes after it. */
  #waits(event: KeyboardEvent): boolean {
    const { target } = event;
    if (this.#late.has(event) || !this.typing.isBusy) {
      return false;
    }
    const late = copied(event);
    this.#late.add(late);
    return this.typing.after(() => target?.dispatchEvent(late));
  }

  #replaces(event: KeyboardEvent): boolean {
    if (event.type === "keyup") {
      return this.#translator?.up(event.code) === true;
    }
    const strokes = this.#translator?.down(pressedKey(event), this.#capsLock());
    strokes?.forEach(this.#send);
    return strokes !== undefined;
  }
}
