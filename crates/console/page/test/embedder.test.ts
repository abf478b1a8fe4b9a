import assert from "node:assert/strict";
import test from "node:test";

import { allowedOrigins, Embedder, type Inbox, readMessage, TokenRefused } from "../src/embedder.ts";

const TOKEN = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLM-_09";
const ORIGINS = ["https://consoles.example.org", "https://portal.example.org"];

/** An embedder on the other side of postMessage. */
class Portal {
  readonly heard: { message: Record<string, unknown>; origin: string }[] = [];
  #listener: ((event: MessageEvent) => void) | undefined;

  postMessage(message: unknown, origin: string): void {
    this.heard.push({ message: message as Record<string, unknown>, origin });
  }

  readonly inbox: Inbox = {
    addEventListener: (_, listener) => {
      this.#listener = listener;
    },
  };

  say(data: object, origin = "https://portal.example.org", source: unknown = this): void {
    this.#listener?.({ data: { novasphere: "console", version: 1, ...data }, origin, source } as MessageEvent);
  }

  embedder(): Embedder {
    return new Embedder(this, this.inbox, ORIGINS, () => ({ session: "team/a", protocol: "vnc" }));
  }
}

test("an embedder of an allowed origin gives a token", async () => {
  const portal = new Portal();
  const answer = portal.embedder().askForToken();
  assert.deepEqual(
    portal.heard.map(({ origin }) => origin),
    ORIGINS,
  );
  assert.deepEqual(portal.heard[0]?.message, {
    novasphere: "console",
    version: 1,
    type: "token-request",
    request: 1,
    session: "team/a",
    protocol: "vnc",
  });
  portal.say({ type: "token", request: 1, token: TOKEN, input: "ViewOnly" });
  assert.deepEqual(await answer, { token: TOKEN, viewOnly: true });
});

test("strangers, other windows and stale answers are not heard", async () => {
  const portal = new Portal();
  const embedder = portal.embedder();
  const stale = assert.rejects(embedder.askForToken(), TokenRefused);
  const answer = embedder.askForToken(50);
  await stale;
  const token = { type: "token", request: 2, token: TOKEN };
  portal.say(token, "https://evil.example");
  portal.say(token, "null");
  portal.say(token, undefined, {});
  portal.say({ ...token, request: 1 });
  portal.say({ ...token, token: "short" });
  await assert.rejects(answer, /gave no new token/);
});

test("an embedder may refuse, in its own words", async () => {
  const portal = new Portal();
  const answer = portal.embedder().askForToken();
  portal.say({ type: "token-refused", request: 1, message: "your shift is over" });
  await assert.rejects(answer, { said: "your shift is over" });
  const again = portal.embedder().askForToken();
  portal.say({ type: "token-refused", request: 1 });
  await assert.rejects(again, { said: undefined });
});

test("only messages of this protocol are read", () => {
  const good = { novasphere: "console", version: 1, type: "token", request: 1, token: TOKEN };
  assert.deepEqual(readMessage(good), { type: "token", request: 1, token: TOKEN, viewOnly: undefined });
  for (const bad of [null, 1, "token", {}, { ...good, novasphere: "x" }, { ...good, version: 2 }, { ...good, type: "x" }]) {
    assert.equal(readMessage(bad), undefined);
  }
});

test("the page's own origin may always embed it", () => {
  assert.deepEqual(allowedOrigins("", "https://a"), ["https://a"]);
  assert.deepEqual(allowedOrigins("https://b https://a", "https://a"), ["https://a", "https://b"]);
});
