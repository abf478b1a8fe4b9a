// Text that an input method composes, and the keys that are none of it.

/** What tells whose a key event is. */
export type KeyOrigin = Pick<KeyboardEvent, "isComposing" | "key" | "keyCode">;

/**
 * Whether the browser's input method works on the key: it becomes text later, or nothing. 229 is what browsers give such keys
 * (UI Events, "Determine keydown and keyup keyCode").
 */
export function isComposed({ isComposing, key, keyCode }: KeyOrigin): boolean {
  return isComposing || keyCode === 229 || key === "Process" || key === "Dead" || key === "Unidentified";
}

/** The characters of a text that no key of a common keyboard has: all beyond Latin-1, each once. */
export function withoutKey(text: string): string {
  const found = new Set<string>();
  for (const character of text) {
    if ((character.codePointAt(0) ?? 0) > 0xff) {
      found.add(character);
    }
  }
  return [...found].join("");
}

/** What a person is told who types into a machine that takes keys and no text. `undefined` when all of it has keys. */
export function keysOnlyWarning(text: string): string | undefined {
  const missing = withoutKey(text);
  return missing === ""
    ? undefined
    : `This machine takes keys and no text, so it may not get: ${missing} Type them with an input method in the machine.`;
}
