#!/usr/bin/env node
// Opens the link on standard input in a headless browser and saves a picture of the console: demo-screenshot.mjs FILE.
// The link is not an argument, because it holds a token.

import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import path from "node:path";
import { createInterface } from "node:readline";

// A desktop may have to wake first.
const PATIENCE_MS = 120_000;

const url = readFileSync(0, "utf8").trim();
const file = path.resolve(process.argv[2]);
const driver = spawn("node", [path.join(import.meta.dirname, "../e2e/browser/driver.mjs"), "--insecure"], {
  stdio: ["pipe", "pipe", "inherit"],
});
const answers = createInterface({ input: driver.stdout })[Symbol.asyncIterator]();

async function command(parameters) {
  driver.stdin.write(`${JSON.stringify(parameters)}\n`);
  const { value: line, done } = await answers.next();
  const answer = done ? { error: "the browser has ended" } : JSON.parse(line);
  if (answer.error) {
    throw new Error(answer.error);
  }
  return answer.value;
}

await command({ command: "open", url });
const end = Date.now() + PATIENCE_MS;
let look;
do {
  await new Promise((resolve) => setTimeout(resolve, 200));
  look = await command({ command: "look" });
} while (!(look.state === "connected" && look.colours > 1) && look.state !== "ended" && Date.now() < end);
await command({ command: "screenshot", path: file });
driver.stdin.end();
if (look.state !== "connected" || look.colours < 2) {
  console.error(`The page shows no console: ${look.notice || look.status}`);
  process.exit(1);
}
console.log(`${path.relative("", file)}: a screen of ${look.width} x ${look.height} pixels`);
