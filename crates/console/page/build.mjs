// Bundles the page into dist/, or its tests into out/tests/ (--tests).
//
// dist/ holds index.html and assets/, whose names contain a hash of their content. crates/console/build.rs embeds them.

import { createHash } from "node:crypto";
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

import { build } from "esbuild";

const root = path.dirname(fileURLToPath(import.meta.url));
const inRoot = (...parts) => path.join(root, ...parts);

const common = {
  absWorkingDir: root,
  bundle: true,
  format: "esm",
  target: "es2022",
  logLevel: "warning",
};

async function tests() {
  await rm(inRoot("out/tests"), { recursive: true, force: true });
  const { readdir } = await import("node:fs/promises");
  const files = (await readdir(inRoot("test"))).filter((name) => name.endsWith(".test.ts"));
  await build({
    ...common,
    platform: "node",
    entryPoints: files.map((name) => `test/${name}`),
    outdir: "out/tests",
    outExtension: { ".js": ".mjs" },
  });
}

// Whoever gets the page gets these programs with it; their licences ask that he is told.
async function licences() {
  const { dependencies } = JSON.parse(await readFile(inRoot("package.json"), "utf8"));
  const texts = [];
  for (const name of Object.keys(dependencies).sort()) {
    const folder = inRoot("node_modules", name);
    const { version, license, repository } = JSON.parse(await readFile(path.join(folder, "package.json"), "utf8"));
    const text = await readFile(path.join(folder, "LICENSE"), "utf8").catch(() =>
      readFile(path.join(folder, "LICENSE.txt"), "utf8"),
    );
    const source = typeof repository === "string" ? repository : repository.url.replace(/^git\+/, "");
    texts.push(`${name} ${version}, licence ${license}, source ${source}\n\n${text.trim()}\n`);
  }
  return texts.join(`\n${"-".repeat(80)}\n\n`);
}

async function page() {
  const work = inRoot("out/dist");
  await rm(work, { recursive: true, force: true });
  const result = await build({
    ...common,
    platform: "browser",
    entryPoints: { console: "src/main.ts", style: "src/style.css" },
    outdir: path.join(work, "assets"),
    entryNames: "[name]-[hash]",
    chunkNames: "[name]-[hash]",
    splitting: true,
    minify: true,
    metafile: true,
    legalComments: "none",
  });
  const assets = {};
  for (const [output, { entryPoint }] of Object.entries(result.metafile.outputs)) {
    if (entryPoint) {
      assets[entryPoint] = `assets/${path.basename(output)}`;
    }
  }

  const notices = await licences();
  const hash = createHash("sha256").update(notices).digest("hex").slice(0, 8).toUpperCase();
  const noticesName = `licences-${hash}.txt`;
  await writeFile(path.join(work, "assets", noticesName), notices);

  let html = await readFile(inRoot("src/index.html"), "utf8");
  for (const [placeholder, name] of [
    ["@script@", assets["src/main.ts"]],
    ["@style@", assets["src/style.css"]],
    ["@licences@", `assets/${noticesName}`],
  ]) {
    if (!html.includes(placeholder) || !name) {
      throw new Error(`src/index.html must name ${placeholder}, and the bundle must have it`);
    }
    html = html.replaceAll(placeholder, name);
  }
  await writeFile(path.join(work, "index.html"), html);

  const outputs = Object.keys(result.metafile.outputs).map((output) => inRoot(output));
  for (const file of [...outputs, path.join(work, "assets", noticesName)]) {
    await writeFile(`${file}.gz`, gzipSync(await readFile(file), { level: 9 }));
  }

  // At once, so that whoever was interrupted leaves no half of it.
  await mkdir(inRoot("out"), { recursive: true });
  await rm(inRoot("dist"), { recursive: true, force: true });
  await rename(work, inRoot("dist"));
}

await (process.argv.includes("--tests") ? tests() : page());
