// What is shown beside the console of a desktop that sleeps, starts, or is about to sleep.

import { element } from "./controls.ts";
import { isAwaited, sleepCause, type TargetView } from "./target.ts";
import type { Words } from "./words.ts";

const timeOfDay = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });

/** Changes only what differs, so that nothing is read out twice. */
function say(where: HTMLElement, text: string): void {
  if (where.textContent !== text) {
    where.textContent = text;
  }
}

export class Waiting {
  readonly #section = element("waiting", HTMLElement);
  readonly #title = element("waiting-title", HTMLElement);
  readonly #text = element("waiting-text", HTMLElement);
  readonly #message = element("waiting-message", HTMLElement);
  readonly #seconds = element("waiting-seconds", HTMLElement);
  readonly #warning = element("sleep-warning", HTMLElement);
  readonly #words: Words;
  #since = 0;
  #timer: number | undefined;
  #expiry: number | undefined;

  constructor(words: Words) {
    this.#words = words;
  }

  /** A person has begun to wait for the first picture. */
  begin(): void {
    this.end();
    this.#since = performance.now();
  }

  /** The gateway has said how the target is. `connected`: its picture is there. */
  told(view: TargetView, connected: boolean): void {
    document.body.dataset["target"] = view.state;
    if (!connected && isAwaited(view.state)) {
      const { title, text } = this.#words.awaited[view.state];
      // First: what changes in an element that is not shown is not read out.
      this.#show();
      say(this.#title, title);
      say(this.#text, text);
      say(this.#message, view.message);
    } else {
      this.#hide();
    }
    this.#warn(view);
  }

  /** The picture is there: there is nothing to wait for any more. */
  shown(): void {
    this.#hide();
  }

  /** The console has ended. */
  end(): void {
    this.#hide();
    this.#unwarn();
    document.body.dataset["target"] = "";
  }

  #show(): void {
    this.#section.hidden = false;
    this.#count();
    this.#timer ??= window.setInterval(() => {
      this.#count();
    }, 1000);
  }

  #count(): void {
    const seconds = Math.floor((performance.now() - this.#since) / 1000);
    say(this.#seconds, this.#words.waited(seconds));
  }

  #hide(): void {
    this.#section.hidden = true;
    window.clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #warn(view: TargetView): void {
    const cause = sleepCause(view);
    if (cause === undefined || view.sleepsAt === undefined) {
      this.#unwarn();
      return;
    }
    this.#warning.hidden = false;
    say(this.#warning, this.#words.sleeps[cause](timeOfDay.format(view.sleepsAt)));
    window.clearTimeout(this.#expiry);
    // It sleeps then, or it does not: either way it no longer will. The gateway sees input up to a minute late.
    const left = Math.max(0, view.sleepsAt.getTime() - Date.now());
    this.#expiry = window.setTimeout(
      () => {
        this.#unwarn();
      },
      Math.min(left + 90_000, 2 ** 31 - 1),
    );
  }

  #unwarn(): void {
    window.clearTimeout(this.#expiry);
    this.#warning.hidden = true;
    say(this.#warning, "");
  }
}
