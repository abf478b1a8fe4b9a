// The keyboard of a machine whose screen takes keys and no text: its layout, and text that is typed by its keys.

import { keysOnlyWarning } from "./composition.ts";
import { LAYOUTS } from "./keyboards.ts";
import { GuestKeyboard } from "./keystrokes.ts";
import { TEXT_LIMIT } from "./typing.ts";
import type { View } from "./view.ts";
import type { LayoutName, Words } from "./words.ts";

/** What text is typed by while the layout is not known: QEMU takes the same. */
const ASSUMED = "us";

const KEYBOARDS: ReadonlyMap<string, GuestKeyboard> = new Map(
  Object.entries(LAYOUTS).map(([name, layout]) => [name, new GuestKeyboard(layout)]),
);

export class GuestKeys {
  readonly #choice: HTMLSelectElement;
  readonly #say: (what: string) => void;
  readonly #changed: () => void;
  readonly #words: Words;
  #view: View | undefined;
  #takesKeysOnly = false;
  #viewOnly = false;
  /** A person's choice counts more than what the gateway says. */
  #isChosen = false;

  /** `changed` is told when a text begins and ends to be typed. */
  constructor(choice: HTMLSelectElement, say: (what: string) => void, changed: () => void, words: Words) {
    this.#choice = choice;
    this.#say = say;
    this.#changed = changed;
    this.#words = words;
    choice.append(new Option(words.keysByPlace, ""));
    for (const value of KEYBOARDS.keys()) {
      choice.append(new Option(words.guest(this.#name(value)), value));
    }
    choice.addEventListener("change", () => {
      this.#isChosen = true;
      this.#show();
      this.#view?.focus();
    });
  }

  /** Whether text goes to the machine as keys. */
  get takesKeysOnly(): boolean {
    return this.#takesKeysOnly && this.#view?.typing !== undefined;
  }

  get isBusy(): boolean {
    return this.#view?.typing?.isBusy === true;
  }

  attach(view: View, viewOnly: boolean): void {
    this.#view = view;
    this.#viewOnly = viewOnly;
    view.typing?.watch(this.#changed);
    this.#show();
  }

  detach(): void {
    this.#view = undefined;
    this.#show();
  }

  /** What the gateway says of the target. */
  told(keysOnly: boolean, keyboard: string | undefined): void {
    this.#takesKeysOnly = keysOnly;
    if (!this.#isChosen) {
      this.#choice.value = keyboard !== undefined && KEYBOARDS.has(keyboard) ? keyboard : "";
    }
    this.#show();
  }

  /** Types a text, and says what of it has no key. */
  type(text: string): void {
    const layout = this.#choice.value || ASSUMED;
    const keyboard = KEYBOARDS.get(layout);
    if (keyboard === undefined) {
      return;
    }
    const capsLock = this.#view?.capsLock?.() ?? false;
    const { keys, missing } = keyboard.type(text, { capsLock });
    this.#view?.typing?.add(keys);
    const isLong = keys.length > TEXT_LIMIT;
    const said = [
      ...(missing === "" ? [] : [keysOnlyWarning(missing, this.#name(layout), this.#words)]),
      ...(isLong ? [this.#words.onlyFirst(TEXT_LIMIT)] : []),
    ];
    if (said.length > 0) {
      this.#say(said.join(" "));
    }
  }

  stop(): void {
    this.#view?.typing?.stop();
  }

  #name(layout: string): string {
    return this.#words.layouts[layout as LayoutName];
  }

  #show(): void {
    this.#choice.hidden = this.#viewOnly || !this.takesKeysOnly;
    this.#view?.translate?.(this.takesKeysOnly ? KEYBOARDS.get(this.#choice.value) : undefined);
  }
}
