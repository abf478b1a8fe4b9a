// Text that an input method composes, and the keys that are none of it.

import type { Words } from "./words.ts";

/** What tells whose a key event is. */
export type KeyOrigin = Pick<KeyboardEvent, "isComposing" | "key" | "keyCode">;

/**
 * Whether the browser's input method works on the key: it becomes text later, or nothing. 229 is what browsers give such keys
 * (UI Events, "Determine keydown and keyup keyCode").
 */
export function isComposed({ isComposing, key, keyCode }: KeyOrigin): boolean {
  return isComposing || keyCode === 229 || key === "Process" || key === "Dead" || key === "Unidentified";
}

/** More are not named: the line has room for these. */
const NAMED = 40;

/** What a person is told of characters that the keyboard of a machine that takes keys and no text does not have. */
export function keysOnlyWarning(missing: string, layout: string, words: Words): string {
  const characters = [...missing];
  const named = characters.slice(0, NAMED).join(" ");
  return words.noKey(layout, named, Math.max(0, characters.length - NAMED));
}
