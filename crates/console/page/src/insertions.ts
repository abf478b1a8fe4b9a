// Text that comes without a key: from a system's picker of emoji, or by dictation.

/** What tells how text came into a field. */
export type Insertion = Pick<InputEvent, "inputType" | "data" | "isComposing">;

/** Whether it is a step of a composition, whose text `compositionend` hands in. Firefox sends the last one after that. */
export function isOfComposition({ inputType, isComposing }: Insertion): boolean {
  return isComposing || inputType.includes("Composition");
}

/** Finds text that no key gave. xterm.js leaves it to the field while it serves screen readers (its `_inputEvent`). */
export class Insertions {
  #byKey = false;

  keyDown(): void {
    this.#byKey = true;
  }

  keyUp(): void {
    this.#byKey = false;
  }

  /** The text, when no key gave it. The field hears of a key's text while the key is down. */
  input(insertion: Insertion): string | undefined {
    const byKey = this.#byKey;
    this.#byKey = false;
    const isText = insertion.inputType === "insertText" && !isOfComposition(insertion);
    return isText && !byKey ? (insertion.data ?? undefined) : undefined;
  }
}
