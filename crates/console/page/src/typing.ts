// Types a text into a machine, key by key.

import type { Stroke } from "./keystrokes.ts";

/**
 * For each stroke. QEMU passes one on every 10 ms and drops what it cannot keep (ui/vnc.c "key-delay-ms", ui/input.c), and an
 * emulated machine reads more slowly. An X server gives keys of the keyboard to characters that have none, and takes them away
 * again for others; programs have to follow.
 */
const STROKE_MS = 15;

/** How much of a text is typed: some minutes. */
export const TEXT_LIMIT = 10_000;

/** What a person composes at once has fewer keys; a text with more is one that was handed in. */
const LONG = 32;

/** Sends keys one after another. */
export class Typing {
  readonly #send: (stroke: Stroke) => void;
  /** Each says how long the next one waits. */
  #waiting: (() => number)[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isLong = false;
  #changed: (() => void) | undefined;

  constructor(send: (stroke: Stroke) => void) {
    this.#send = send;
  }

  get isBusy(): boolean {
    return this.#timer !== undefined;
  }

  /** `changed` is told when it begins and ends to be busy. */
  watch(changed: () => void): void {
    this.#changed = changed;
  }

  /** Sends the strokes of these keys. */
  add(keys: readonly (readonly Stroke[])[]): void {
    const taken = keys.slice(0, TEXT_LIMIT - this.#waiting.length);
    this.#isLong ||= taken.length > LONG;
    this.#queue(
      taken.map((strokes) => () => {
        strokes.forEach(this.#send);
        return strokes.length * STROKE_MS;
      }),
    );
  }

  /** Does something after what is being typed, but not after a long text. Answers whether it will; else nothing is done. */
  after(what: () => void): boolean {
    const waits = this.isBusy && !this.#isLong;
    if (waits) {
      this.#queue([
        () => {
          what();
          return 0;
        },
      ]);
    }
    return waits;
  }

  /** What is not sent yet is forgotten. */
  stop(): void {
    this.#waiting = [];
    clearTimeout(this.#timer);
    this.#rest();
  }

  #queue(tasks: readonly (() => number)[]): void {
    this.#waiting.push(...tasks);
    if (!this.isBusy && this.#waiting.length > 0) {
      this.#next();
      this.#changed?.();
    }
  }

  #next(): void {
    const task = this.#waiting.shift();
    if (task === undefined) {
      this.#rest();
      return;
    }
    this.#timer = setTimeout(() => {
      this.#next();
    }, task());
  }

  #rest(): void {
    const wasBusy = this.isBusy;
    this.#timer = undefined;
    this.#isLong = false;
    if (wasBusy) {
      this.#changed?.();
    }
  }
}
