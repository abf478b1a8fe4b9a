// Drives a headless Chromium: one command as JSON on each line of standard input, one answer on each line of standard output,
// in the same order. An answer is {"value": …} or {"error": "…"}. The browser ends with standard input.
//
// e2e/src/browser.rs and hack/demo use it.

import { createInterface } from "node:readline";

import puppeteer from "puppeteer-core";

const browser = await puppeteer.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  headless: true,
  // It ends with the pipe, also when this driver is killed.
  pipe: true,
  acceptInsecureCerts: process.argv.includes("--insecure"),
  args: [
    // Chromium's own sandbox refuses to run as root, and a container is no place for it.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-proxy-server",
    // Only this machine and the networks of the test bed (docs/testbed.md), whatever a page says.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.*, EXCLUDE 10.*",
  ],
  defaultViewport: { width: 1100, height: 800 },
});

/** What went wrong in the page: script errors, refused resources, violations of the content security policy. */
let problems = [];
let page;

function watch() {
  page.on("pageerror", (error) => problems.push(`error: ${error.message}`));
  page.on("console", (message) => {
    if (message.type() === "error") {
      problems.push(`console: ${message.text()}`);
    }
  });
}

async function open({ url, viewport }) {
  const context = await browser.createBrowserContext();
  const before = page;
  page = await context.newPage();
  await before?.browserContext().close();
  problems = [];
  watch();
  if (viewport) {
    await page.setViewport(viewport);
  }
  await page.goto(url, { waitUntil: "load" });
}

/** What the page says and shows, at one moment. */
function look(colour) {
  const shown = (id) => {
    const found = document.getElementById(id);
    return found && !found.closest("[hidden]") ? found.innerText.trim() : "";
  };
  const canvas = document.querySelector("#view canvas");
  const picture = { width: 0, height: 0, colours: 0, ofColour: 0, hash: 0 };
  if (canvas && canvas.width > 0 && canvas.height > 0) {
    picture.width = canvas.width;
    picture.height = canvas.height;
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    const pixels = new Uint32Array(data.buffer);
    const seen = new Set();
    for (const pixel of pixels) {
      const rgb = pixel & 0xff_ffff;
      picture.hash = (Math.imul(picture.hash, 31) + rgb) | 0;
      picture.ofColour += rgb === colour ? 1 : 0;
      if (seen.size < 256) {
        seen.add(rgb);
      }
    }
    picture.colours = seen.size;
  }
  const rows = [...document.querySelectorAll("#view .xterm-rows > div")];
  return {
    state: document.body.dataset.state ?? "",
    reason: document.body.dataset.reason ?? "",
    status: shown("status"),
    name: shown("name"),
    notice: shown("notice"),
    waiting: shown("waiting"),
    warning: shown("sleep-warning"),
    target: document.body.dataset.target ?? "",
    viewOnly: shown("view-only"),
    address: location.href,
    terminal: rows.map((row) => row.textContent.trimEnd()).join("\n").trim(),
    ...picture,
  };
}

const commands = {
  open,
  /** In the same tab, which keeps its history and its cookies. */
  go: async ({ url }) => {
    await page.goto(url, { waitUntil: "load" });
  },
  reload: async () => {
    await page.reload({ waitUntil: "load" });
  },
  back: async () => {
    await page.goBack({ waitUntil: "load" });
  },
  /** Another tab beside it, which is the present one from then on. */
  tab: async ({ url }) => {
    page = await page.browserContext().newPage();
    watch();
    await page.goto(url, { waitUntil: "load" });
  },
  /** Tabs are numbered from 0 as they were opened. */
  select: async ({ number }) => {
    page = (await page.browserContext().pages())[number];
    await page.bringToFront();
  },
  /** What the browser asks pages to speak, from the next page on. */
  speak: async ({ languages }) => {
    const session = await page.createCDPSession();
    const userAgent = await browser.userAgent();
    await session.send("Emulation.setUserAgentOverride", { userAgent, acceptLanguage: languages });
  },
  /** `colour`: red, green, blue; how many pixels of the picture have it. */
  look: async ({ colour = [0, 0, 0] }) => ({
    ...(await page.evaluate(look, colour[0] | (colour[1] << 8) | (colour[2] << 16))),
    problems,
  }),
  type: ({ text }) => page.keyboard.type(text, { delay: 15 }),
  /** As an input method does: shows each of these as what it works on, then hands in the text. */
  compose: async ({ shown, text }) => {
    const session = await page.createCDPSession();
    for (const part of shown) {
      await session.send("Input.imeSetComposition", { text: part, selectionStart: part.length, selectionEnd: part.length });
    }
    await session.send("Input.insertText", { text });
    await session.detach();
  },
  press: ({ key }) => page.keyboard.press(key),
  /** Several keys at once, the last one while the others are down. */
  chord: async ({ keys }) => {
    for (const key of keys) {
      await page.keyboard.down(key);
    }
    for (const key of keys.toReversed()) {
      await page.keyboard.up(key);
    }
  },
  /** At a place of the picture, in its own pixels. */
  doubleClick: async ({ x, y }) => {
    const place = await page.$eval(
      "#view canvas",
      (canvas, x, y) => {
        const shown = canvas.getBoundingClientRect();
        return [shown.left + (x * shown.width) / canvas.width, shown.top + (y * shown.height) / canvas.height];
      },
      x,
      y,
    );
    await page.mouse.click(...place, { count: 2 });
  },
  click: ({ selector }) => page.click(selector),
  /** Into a field of the page itself. */
  fill: async ({ selector, text }) => {
    await page.click(selector);
    await page.type(selector, text);
  },
  /** An expression of JavaScript, in the page. */
  evaluate: ({ expression }) => page.evaluate(expression),
  screenshot: ({ path }) => page.screenshot({ path }),
};

for await (const line of createInterface({ input: process.stdin })) {
  let answer;
  try {
    const { command, ...parameters } = JSON.parse(line);
    answer = { value: (await commands[command](parameters)) ?? null };
  } catch (error) {
    answer = { error: String(error?.message ?? error) };
  }
  if (answer.value instanceof Uint8Array) {
    answer = { value: null };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await browser.close();
