// What is shown in place of a console that is not there, and the field for a new link.

import { element } from "./controls.ts";

export interface NoticeActions {
  /** A person pasted something; the answer says what is wrong with it. */
  pasted(text: string): string | undefined;
  /** A person pressed the button. */
  pressed(): void;
}

export class Notice {
  readonly #section = element("notice", HTMLElement);
  readonly #title = element("notice-title", HTMLElement);
  readonly #text = element("notice-text", HTMLElement);
  readonly #advice = element("notice-advice", HTMLElement);
  readonly #form = element("link-form", HTMLFormElement);
  readonly #link = element("link", HTMLInputElement);
  readonly #error = element("link-error", HTMLElement);
  readonly #again = element("again", HTMLButtonElement);

  constructor(actions: NoticeActions) {
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      const wrong = actions.pasted(this.#link.value);
      this.#error.textContent = wrong ?? "";
      if (wrong === undefined) {
        this.#link.value = "";
      }
    });
    this.#again.addEventListener("click", () => {
      actions.pressed();
    });
  }

  /** Shows why there is no console. `form`: with the field for a new link; `button`: with a button that is called so. */
  show(title: string, text: string, advice: string, { form, button }: { form: boolean; button: string | undefined }): void {
    this.#title.textContent = title;
    this.#text.textContent = text;
    this.#advice.textContent = advice;
    this.#form.hidden = !form;
    this.#again.hidden = button === undefined;
    this.#again.textContent = button ?? "";
    this.#error.textContent = "";
    this.#section.hidden = false;
    if (form) {
      // Not the button: who types when a console ends would press it.
      this.#link.focus();
    }
  }

  hide(): void {
    this.#section.hidden = true;
  }
}
