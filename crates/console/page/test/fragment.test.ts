import assert from "node:assert/strict";
import test from "node:test";

import { readFragment, readPasted, targetUrl, webSocketUrl, withoutToken } from "../src/fragment.ts";

const TOKEN = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLM-_09";

test("a link says the token, the console and the session", () => {
  assert.deepEqual(readFragment(`#token=${TOKEN}&protocol=serial&session=team-a/web-1&input=ViewOnly`), {
    token: TOKEN,
    protocol: "serial",
    session: "team-a/web-1",
    viewOnly: true,
  });
  assert.equal(readFragment("#protocol=ssh").protocol, "ssh");
  const bare = { token: undefined, protocol: "vnc", session: undefined, viewOnly: false };
  assert.deepEqual(readFragment(""), bare);
  assert.deepEqual(readFragment("#"), bare);
});

test("what is malformed counts as absent", () => {
  for (const fragment of [
    "#token=short",
    `#token=${TOKEN}A`,
    `#token=${TOKEN.slice(1)}%20`,
    "#protocol=rdp",
    "#session=team",
    "#session=a/b/c",
    "#session=<b>/x",
    `#session=a/${"x".repeat(254)}`,
  ]) {
    const link = readFragment(fragment);
    assert.equal(link.token, undefined, fragment);
    assert.equal(link.protocol, "vnc", fragment);
    assert.equal(link.session, undefined, fragment);
  }
});

test("what stays in the address bar has no token and says the rest", () => {
  const link = readFragment(`#token=${TOKEN}&protocol=serial&session=team-a/web-1&input=ViewOnly`);
  const left = withoutToken(link);
  assert.ok(!left.includes(TOKEN));
  assert.deepEqual(readFragment(left), { ...link, token: undefined });
  assert.equal(withoutToken(readFragment("")), "#protocol=vnc");
});

test("a person may paste a link, its fragment or a token", () => {
  const before = readFragment("#protocol=serial&session=team-a/web-1");
  assert.deepEqual(readPasted(` ${TOKEN}\n`, before), { ...before, token: TOKEN });
  for (const text of [
    `https://consoles.example.org/base/console/#token=${TOKEN}&protocol=vnc&session=b/c`,
    `#token=${TOKEN}&session=b/c`,
    `token=${TOKEN}&session=b/c`,
  ]) {
    assert.deepEqual(readPasted(text, before), { token: TOKEN, protocol: "vnc", session: "b/c", viewOnly: false }, text);
  }
  for (const text of ["", "hello", "https://consoles.example.org/console/", `https://x/?token=${TOKEN}`]) {
    assert.equal(readPasted(text, before), undefined, text);
  }
});

test("the WebSocket is beside the page, and that of a session below its name", () => {
  assert.equal(webSocketUrl("https://a.example/console/#x=1"), "wss://a.example/api/v1/console/ws");
  assert.equal(webSocketUrl("https://a.example:8443/nova/console/?q#x"), "wss://a.example:8443/nova/api/v1/console/ws");
  assert.equal(webSocketUrl("http://127.0.0.1:8080/console/"), "ws://127.0.0.1:8080/api/v1/console/ws");
  assert.equal(
    webSocketUrl("https://a.example/nova/console/#x=1", "team/look-1.b"),
    "wss://a.example/nova/api/v1/console/sessions/team/look-1.b/ws",
  );
});

test("how the target is, is asked beside the page as well", () => {
  assert.equal(targetUrl("https://a.example:8443/nova/console/?q#x"), "https://a.example:8443/nova/api/v1/console/target");
  assert.equal(
    targetUrl("https://a.example/console/#x", "team/look-1"),
    "https://a.example/api/v1/console/sessions/team/look-1/target",
  );
});
