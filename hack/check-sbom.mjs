// Checks the documents of hack/sbom: check-sbom.mjs OUT WORK. Each is CycloneDX, and names what is known to be in it.
import { readFileSync, readdirSync } from "node:fs";
import path from "node:path";

const [out, work] = process.argv.slice(2);
const lines = (file) =>
  readFileSync(file, "utf8")
    .split("\n")
    .map((line) => line.replace(/#.*/, "").trim())
    .filter((line) => line !== "");
let failed = false;
const complain = (file, sentence) => {
  console.error(`${path.join(out, file)}: ${sentence}`);
  failed = true;
};

// What a document has to name, as the beginnings of package URLs.
function expected(name) {
  if (name === "console-page") {
    const page = JSON.parse(readFileSync("crates/console/page/package.json", "utf8"));
    return Object.entries(page.dependencies).map(([name, version]) => `pkg:npm/${name.replace("@", "%40")}@${version}`);
  }
  const image = name.replace(/^image-/, "");
  if (image === name) {
    return lines(path.join(work, `${name}.crates`)).map((line) => `pkg:cargo/${line.replace(" ", "@")}`);
  }
  return lines(path.join("images", image, "packages")).map((line) => `pkg:deb/debian/${line}@`);
}

const files = readdirSync(out).filter((file) => file.endsWith(".cdx.json"));
for (const file of files) {
  const name = file.replace(/\.cdx\.json$/, "");
  const document = JSON.parse(readFileSync(path.join(out, file), "utf8"));
  if (document.bomFormat !== "CycloneDX" || !/^1\.\d+$/.test(document.specVersion)) {
    complain(file, `it is no CycloneDX document: bomFormat ${document.bomFormat}, specVersion ${document.specVersion}`);
    continue;
  }
  const found = (document.components ?? []).map((component) => decodeURIComponent(component.purl ?? ""));
  for (const purl of expected(name)) {
    if (!found.some((one) => one.startsWith(decodeURIComponent(purl)))) {
      complain(file, `${decodeURIComponent(purl)} is in it and not named`);
    }
  }
  if (name === "console-page" && found.some((purl) => purl.startsWith("pkg:npm/esbuild@"))) {
    complain(file, "it names esbuild, which makes the page and is not part of it");
  }
  const packages = found.filter((purl) => purl !== "").length;
  console.log(`${path.join(out, file)}: ${packages} packages`);
}
for (const name of ["novasphere", "novasphere-probe", "console-page"]) {
  if (!files.includes(`${name}.cdx.json`)) {
    complain(`${name}.cdx.json`, "it was not written");
  }
}
process.exit(failed ? 1 : 0);
