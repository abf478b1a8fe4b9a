// What the two kinds of console have in common.

import type { GuestKeyboard } from "./keystrokes.ts";
import type { Typing } from "./typing.ts";

export interface View {
  /** Gives it the keyboard. */
  focus(): void;
  /** Types or pastes text that a person handed in. */
  paste(text: string): void;
  /** Sends one character of an on-screen keyboard. */
  type(character: string): void;
  /** Takes a key event that was meant for it and went elsewhere. Only where it has no place for an input method of its own. */
  key?(event: KeyboardEvent): void;
  /** Types text by keys. Only a screen has keys. */
  readonly typing?: Typing;
  /** From now on replaces keys that mean something else on this keyboard, which is the guest's; `undefined` replaces none. */
  translate?(keyboard: GuestKeyboard | undefined): void;
  /** Whether Caps Lock is on in the guest; `undefined` when it does not say so. */
  capsLock?(): boolean | undefined;
  /** Only where there is a keyboard that knows it. */
  ctrlAltDel?(): void;
  /** Fits it to the window, or shows it in its own size. */
  fit?(on: boolean): void;
  /** The gateway has told the holder of this console's token that its machine runs. Only where the console may be silent. */
  runs?(): void;
  /** Has the machine say something, so that a line that broke without a word shows. Only where its protocol has a question. */
  probe?(): void;
  /** Sends nothing from now on. */
  lookOnly(): void;
  close(): void;
}

/** What is not as it should be: the machine turned the viewer away, or speaks another protocol. */
export type Breakage = "refused" | "notRfb";

export interface ViewEvents {
  /** The console is there. */
  opened(): void;
  /** The machine has a name for itself. */
  named(name: string): void;
  /** Text was copied in the machine. */
  copied(text: string): void;
  /** What comes over the line is not what it should be. `said`: by the machine. */
  broken(why: Breakage, said?: string): void;
}
