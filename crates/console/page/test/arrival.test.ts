import assert from "node:assert/strict";
import test, { mock } from "node:test";

import { Arrival } from "../src/arrival.ts";

function arrival(t: { after(end: () => void): void }): { arrival: Arrival; told: () => number } {
  mock.timers.enable({ apis: ["setTimeout"] });
  t.after(() => {
    mock.timers.reset();
  });
  let told = 0;
  const arrival = new Arrival(() => {
    told += 1;
  });
  return { arrival, told: () => told };
}

test("an open line alone is no console", (t) => {
  const { arrival: console, told } = arrival(t);
  console.lineOpened();
  mock.timers.tick(15_000);
  assert.equal(told(), 0);
  console.end();
  mock.timers.tick(60_000);
  assert.equal(told(), 0, "its token was refused");
});

test("the first thing that is seen of it is told, once", (t) => {
  const { arrival: console, told } = arrival(t);
  console.seen();
  assert.equal(told(), 0, "the gateway answers before the line is open");
  console.lineOpened();
  console.seen();
  console.seen();
  mock.timers.tick(60_000);
  assert.equal(told(), 1);
});

test("a silent console is there when the gateway leaves it open", (t) => {
  const { arrival: console, told } = arrival(t);
  console.lineOpened();
  mock.timers.tick(20_000);
  assert.equal(told(), 1);
});
