import assert from "node:assert/strict";
import test, { mock, type TestContext } from "node:test";

import { listenForWaking, type Surroundings } from "../src/wake.ts";

/** A window whose device the test has in its hand. */
class Device implements Surroundings {
  readonly told: string[] = [];
  now = 0;
  readonly #listeners = new Map<string, ((event: Event) => void)[]>();
  readonly document = {
    visibilityState: "visible",
    addEventListener: (type: string, listener: () => void): void => {
      this.addEventListener(type, listener);
    },
  };
  readonly navigator = { onLine: true };

  constructor(t: TestContext) {
    mock.timers.enable({ apis: ["setInterval"] });
    t.after(() => {
      mock.timers.reset();
    });
    listenForWaking(
      this,
      {
        woken: (isSuspect) => this.told.push(isSuspect ? "suspect" : "woken"),
        suspended: () => this.told.push("suspended"),
        restored: () => this.told.push("restored"),
      },
      () => this.now,
    );
  }

  addEventListener(type: string, listener: (event: Event) => void): void {
    this.#listeners.set(type, [...(this.#listeners.get(type) ?? []), listener]);
  }

  happens(type: string, event: object = {}): void {
    for (const listener of this.#listeners.get(type) ?? []) {
      listener(event as Event);
    }
  }

  pass(ms: number): void {
    this.now += ms;
    mock.timers.tick(ms);
  }

  /** Time passes, and no timer runs. */
  sleep(ms: number): void {
    this.now += ms;
  }

  network(isThere: boolean): void {
    this.navigator.onLine = isThere;
    this.happens(isThere ? "online" : "offline");
  }

  show(isShown: boolean): void {
    this.document.visibilityState = isShown ? "visible" : "hidden";
    this.happens("visibilitychange");
  }

  since(): string[] {
    return this.told.splice(0);
  }
}

test("a page that is looked at all the time is left alone", (t) => {
  const device = new Device(t);
  for (let turn = 0; turn < 100; turn += 1) {
    device.pass(10_000);
  }
  assert.deepEqual(device.since(), []);
});

test("a network that was away makes an open line suspect", (t) => {
  const device = new Device(t);
  device.network(false);
  device.pass(10_000);
  assert.deepEqual(device.since(), []);
  device.network(true);
  assert.deepEqual(device.since(), ["suspect"]);
});

test("a page that is shown without a network waits for it", (t) => {
  const device = new Device(t);
  device.network(false);
  device.show(false);
  device.show(true);
  assert.deepEqual(device.since(), []);
  device.network(true);
  assert.deepEqual(device.since(), ["suspect"]);
});

test("a laptop that slept makes an open line suspect, and no event is needed for it", (t) => {
  const device = new Device(t);
  device.sleep(3_600_000);
  device.pass(10_000);
  assert.deepEqual(device.since(), ["suspect"]);
  device.pass(60_000);
  assert.deepEqual(device.since(), []);
});

test("a phone that was locked is suspect when it is unlocked, and a tab that was hidden for a moment is not", (t) => {
  const device = new Device(t);
  device.show(false);
  device.pass(20_000);
  device.show(true);
  assert.deepEqual(device.since(), ["woken"]);
  device.show(false);
  device.sleep(600_000);
  device.show(true);
  assert.deepEqual(device.since(), ["suspect"]);
});

test("a hidden tab, whose timers run once in a minute, has not slept", (t) => {
  const device = new Device(t);
  device.show(false);
  for (let turn = 0; turn < 30; turn += 1) {
    device.sleep(50_000);
    device.pass(10_000);
  }
  device.show(true);
  assert.deepEqual(device.since(), ["woken"]);
});

test("a page out of the browser's cache is told so, and one that was loaded is not", (t) => {
  const device = new Device(t);
  device.happens("pageshow", { persisted: false });
  device.happens("pagehide", { persisted: true });
  device.sleep(600_000);
  device.happens("pageshow", { persisted: true });
  device.happens("visibilitychange");
  assert.deepEqual(device.since(), ["suspended", "restored", "woken"]);
});
