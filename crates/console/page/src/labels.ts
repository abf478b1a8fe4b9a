// The texts of index.html in the language of the page.

import { element } from "./controls.ts";
import type { Words } from "./words.ts";

export function label({ language, labels, names }: Words): void {
  document.documentElement.lang = language;
  for (const [id, text] of Object.entries(labels)) {
    element(id, HTMLElement).textContent = text;
  }
  for (const [id, name] of Object.entries(names)) {
    element(id, HTMLElement).setAttribute("aria-label", name);
  }
}
