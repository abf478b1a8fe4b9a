// Says how many lines of each crate the tests run: check-coverage.mjs LCOV. Lines of tests are no lines of the crate: what lies in
// files of their own is not in the report, and modules at the ends of files are left out here.
import { readFileSync } from "node:fs";
import path from "node:path";

// Percent of the lines of a pure crate: nothing keeps a test from reaching all of them.
const BOUND = 90;

// The pure crates are those that may not even import what does IO, by the table of imports. `make verify` holds the crates against it.
const [, table] = /<!-- imports: Generated[^>]*-->([^]*)<!-- imports: end -->/.exec(readFileSync("docs/ARCHITECTURE.md", "utf8"));
const pure = new Set([...table.matchAll(/^ {4}(\w+) .*no tokio/gm)].map(([, name]) => name));

// The number of the line at which the tests of a file begin.
function testsBegin(file) {
  const lines = readFileSync(file, "utf8").split("\n");
  const index = lines.findIndex((line, at) => line === "#[cfg(test)]" && /^(pub(\(crate\))? )?mod \w+ \{$/.test(lines[at + 1] ?? ""));
  return index < 0 ? Infinity : index + 1;
}

// The crate of a file: the folder above `src`.
function crateOf(file) {
  const folders = path.relative("", file).split(path.sep);
  return folders[folders.indexOf("src") - 1] ?? folders[0];
}

const crates = new Map();
for (const record of readFileSync(process.argv[2], "utf8").split("end_of_record\n")) {
  const file = /^SF:(.+)$/m.exec(record)?.[1];
  if (file === undefined) {
    continue;
  }
  const end = testsBegin(file);
  const crate = crates.get(crateOf(file)) ?? { lines: 0, run: 0 };
  for (const [, line, count] of record.matchAll(/^DA:(\d+),(\d+)/gm)) {
    if (Number(line) < end) {
      crate.lines += 1;
      crate.run += Number(count) > 0 ? 1 : 0;
    }
  }
  crates.set(crateOf(file), crate);
}

let failed = false;
const complain = (sentence) => {
  console.error(sentence);
  failed = true;
};
console.log("crate            lines   run by tests without a cluster");
for (const [name, { lines, run }] of [...crates].sort()) {
  const percent = (100 * run) / Math.max(lines, 1);
  const isPure = pure.has(name);
  console.log(`${name.padEnd(14)} ${String(lines).padStart(7)}   ${percent.toFixed(1)} %${isPure ? `, at least ${BOUND} %` : ""}`);
  if (isPure && percent < BOUND) {
    complain(`${name}: ${percent.toFixed(1)} % of its lines are run by tests, and ${BOUND} % is the least; target/coverage/lcov.info says which are not`);
  }
}
if (!pure.has("core")) {
  complain("docs/ARCHITECTURE.md: its table of imports names no crate core without tokio");
}
for (const name of pure) {
  if (!crates.has(name)) {
    complain(`${name}: the report has no line of it`);
  }
}
process.exit(failed ? 1 : 0);
