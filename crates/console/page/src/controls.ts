// The page's elements and what a person does with them.

import { isComposed } from "./composition.ts";
import { GuestKeys } from "./guest_keys.ts";
import { isOfComposition } from "./insertions.ts";
import type { TargetView } from "./target.ts";
import type { View } from "./view.ts";
import type { Words } from "./words.ts";

export function element<T extends HTMLElement>(id: string, type: new () => T): T {
  const found = document.getElementById(id);
  if (!(found instanceof type)) {
    throw new Error(`the page has no ${id}`);
  }
  return found;
}

function button(id: string, press: () => void): HTMLButtonElement {
  const found = element(id, HTMLButtonElement);
  found.addEventListener("click", press);
  return found;
}

function pressed(toggle: HTMLElement, on: boolean): void {
  toggle.setAttribute("aria-pressed", String(on));
}

/** The tool bar, the clipboard and the keyboard of a phone. */
export class Controls {
  #view: View | undefined;
  readonly #tools = element("tools", HTMLElement);
  readonly #keys = element("keys", HTMLTextAreaElement);
  readonly #panel = element("clipboard-panel", HTMLElement);
  readonly #text = element("clipboard-text", HTMLTextAreaElement);
  readonly #ctrlAltDel: HTMLButtonElement;
  readonly #keyboard: HTMLButtonElement;
  readonly #clipboard: HTMLButtonElement;
  readonly #send: HTMLButtonElement;
  readonly #fit: HTMLButtonElement;
  readonly #say: (what: string) => void;
  readonly #words: Words;
  /** A finger is the pointer, so the keyboard is one on the screen. */
  readonly #isTouch = matchMedia("(pointer: coarse)").matches;
  /** The keyboard of a virtual machine's guest. */
  readonly #guest: GuestKeys;

  constructor(say: (what: string) => void, disconnect: () => void, words: Words) {
    this.#say = say;
    this.#words = words;
    this.#ctrlAltDel = button("ctrl-alt-del", () => {
      this.#view?.ctrlAltDel?.();
      this.#view?.focus();
    });
    this.#keyboard = button("keyboard", () => {
      const on = this.#keyboard.getAttribute("aria-pressed") !== "true";
      pressed(this.#keyboard, on);
      if (on) {
        this.#keys.focus();
      } else {
        this.#keys.blur();
        if (!this.#isTouch) {
          this.#view?.focus();
        }
      }
    });
    // It shall not take the focus, or the field would lose it before the click says what is wanted.
    this.#keyboard.addEventListener("mousedown", (event) => {
      event.preventDefault();
    });
    this.#keyboard.textContent = this.#isTouch ? words.buttons.keyboard : words.buttons.inputMethod;
    this.#clipboard = button("clipboard", () => {
      this.#showClipboard(this.#panel.hidden !== false);
    });
    this.#fit = button("fit", () => {
      const on = this.#fit.getAttribute("aria-pressed") !== "true";
      pressed(this.#fit, on);
      this.#view?.fit?.(on);
    });
    this.#send = button("clipboard-send", () => {
      this.#handIn(this.#text.value);
    });
    this.#guest = new GuestKeys(
      element("layout", HTMLSelectElement),
      say,
      () => {
        this.#showSend();
      },
      words,
    );
    button("clipboard-copy", () => {
      void this.#copy();
    });
    button("clipboard-close", () => {
      this.#showClipboard(false);
    });
    button("disconnect", disconnect);
    this.#fullScreen();
    this.#listenToKeys();
  }

  /** Offers what this console can do. */
  attach(view: View, viewOnly: boolean): void {
    this.#view = view;
    this.#ctrlAltDel.hidden = viewOnly || view.ctrlAltDel === undefined;
    this.#fit.hidden = view.fit === undefined;
    this.#send.hidden = viewOnly;
    // A canvas takes no text, so where there is a keyboard an input method needs the field as well.
    this.#keyboard.hidden = viewOnly || (!this.#isTouch && view.key === undefined);
    view.fit?.(this.#fit.getAttribute("aria-pressed") === "true");
    this.#guest.attach(view, viewOnly);
    this.#showSend();
    this.#tools.hidden = false;
  }

  detach(): void {
    this.#view = undefined;
    this.#guest.detach();
    this.#tools.hidden = true;
    this.#showClipboard(false);
    pressed(this.#keyboard, false);
  }

  /** What the gateway says of the target. */
  told({ keysOnly, keyboard }: TargetView): void {
    this.#guest.told(keysOnly, keyboard);
    this.#showSend();
  }

  /** Text was copied in the machine. */
  copied(text: string): void {
    this.#text.value = text;
    this.#say(this.#words.said.copied);
  }

  /** Text for the machine: to its clipboard, or as keys where it takes nothing else. */
  #handIn(text: string): void {
    if (this.#guest.isBusy) {
      this.#guest.stop();
      this.#say(this.#words.said.stopped);
    } else if (this.#guest.takesKeysOnly) {
      this.#say(this.#words.said.typed);
      this.#guest.type(text);
    } else {
      this.#view?.paste(text);
      this.#say(this.#words.said.sent);
    }
  }

  #showSend(): void {
    const { stopTyping, typeIn, send } = this.#words.buttons;
    if (this.#guest.isBusy) {
      this.#send.textContent = stopTyping;
    } else {
      this.#send.textContent = this.#guest.takesKeysOnly ? typeIn : send;
    }
  }

  #showClipboard(on: boolean): void {
    this.#panel.hidden = !on;
    this.#clipboard.setAttribute("aria-expanded", String(on));
    if (on) {
      this.#text.focus();
    } else {
      this.#view?.focus();
    }
  }

  async #copy(): Promise<void> {
    try {
      await navigator.clipboard.writeText(this.#text.value);
      this.#say(this.#words.said.copiedHere);
    } catch {
      this.#text.select();
      this.#say(this.#words.said.cannotCopy);
    }
  }

  #fullScreen(): void {
    const toggle = button("full-screen", () => {
      const change = document.fullscreenElement ? document.exitFullscreen() : document.documentElement.requestFullscreen();
      change.catch(() => {
        this.#say(this.#words.said.noFullScreen);
      });
    });
    // Not on an iPhone.
    toggle.hidden = !document.fullscreenEnabled;
    document.addEventListener("fullscreenchange", () => {
      pressed(toggle, document.fullscreenElement !== null);
      this.#view?.focus();
    });
  }

  /** Keyboards of phones and input methods send no key events that could be passed on, they change text. */
  #listenToKeys(): void {
    const reset = (): void => {
      // Something to delete, so that a backspace is noticed.
      this.#keys.value = " ";
      this.#keys.setSelectionRange(1, 1);
    };
    this.#keys.addEventListener("focus", reset);
    this.#keys.addEventListener("blur", ({ relatedTarget }) => {
      if (!this.#isTouch && relatedTarget instanceof HTMLCanvasElement) {
        // A click into the picture: the input method stays on until it is switched off.
        window.setTimeout(() => {
          this.#keys.focus();
        });
        return;
      }
      pressed(this.#keyboard, false);
    });
    for (const type of ["keydown", "keyup"] as const) {
      this.#keys.addEventListener(type, (event) => {
        if (!this.#isTouch && this.#view?.key !== undefined && !isComposed(event)) {
          event.preventDefault();
          this.#view.key(event);
        }
      });
    }
    this.#keys.addEventListener("input", (event) => {
      const { inputType, data, isComposing } = event as InputEvent;
      if (isOfComposition({ inputType, data, isComposing })) {
        return;
      }
      this.#type(TYPED[inputType] ?? data ?? "");
      reset();
    });
    this.#keys.addEventListener("compositionend", ({ data }) => {
      this.#type(data);
      reset();
    });
  }

  #type(text: string): void {
    if (this.#guest.takesKeysOnly) {
      this.#guest.type(text);
      return;
    }
    for (const character of text) {
      this.#view?.type(character);
    }
  }
}

/** Input types (W3C Input Events) that are keys. */
const TYPED: Readonly<Record<string, string>> = {
  deleteContentBackward: "\b",
  insertLineBreak: "\n",
  insertParagraph: "\n",
};
