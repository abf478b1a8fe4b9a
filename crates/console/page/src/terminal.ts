// A serial console: bytes both ways, shown by xterm.js.

import { FitAddon } from "@xterm/addon-fit";
import { Terminal } from "@xterm/xterm";

import { Arrival } from "./arrival.ts";
import { Insertions } from "./insertions.ts";
import { writeStylesByObjectModel } from "./styles.ts";
import type { View, ViewEvents } from "./view.ts";

writeStylesByObjectModel(document);

function sendInsertions(field: HTMLTextAreaElement | undefined, send: (text: string) => void): void {
  const insertions = new Insertions();
  field?.addEventListener("keydown", () => {
    insertions.keyDown();
  });
  field?.addEventListener("keyup", () => {
    insertions.keyUp();
  });
  field?.addEventListener("input", (event) => {
    const text = insertions.input(event as InputEvent);
    if (text !== undefined) {
      send(text);
    }
  });
}

export function openTerminal(target: HTMLElement, socket: WebSocket, viewOnly: boolean, events: ViewEvents): View {
  const terminal = new Terminal({
    disableStdin: viewOnly,
    cursorBlink: !viewOnly,
    fontFamily: "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace",
    fontSize: 15,
    scrollback: 5000,
    screenReaderMode: true,
    theme: { background: "#101418" },
  });
  const fit = new FitAddon();
  terminal.loadAddon(fit);
  terminal.open(target);
  fit.fit();
  const observer = new ResizeObserver(() => {
    fit.fit();
  });
  observer.observe(target);

  const send = (bytes: Uint8Array<ArrayBuffer>): void => {
    if (terminal.options.disableStdin !== true && socket.readyState === WebSocket.OPEN) {
      socket.send(bytes);
    }
  };
  const encoder = new TextEncoder();
  terminal.onData((text) => {
    send(encoder.encode(text));
  });
  sendInsertions(terminal.textarea, (text) => {
    send(encoder.encode(text));
  });
  // Mouse reports that are no text, one byte to a character.
  terminal.onBinary((text) => {
    send(Uint8Array.from(text, (character) => character.charCodeAt(0) & 0xff));
  });

  socket.binaryType = "arraybuffer";
  const arrival = new Arrival(() => {
    events.opened();
  });
  socket.addEventListener("open", () => {
    arrival.lineOpened();
  });
  socket.addEventListener("close", () => {
    arrival.end();
  });
  socket.addEventListener("message", ({ data }: MessageEvent<unknown>) => {
    arrival.seen();
    if (data instanceof ArrayBuffer) {
      terminal.write(new Uint8Array(data));
    } else if (typeof data === "string") {
      terminal.write(data);
    }
  });
  return {
    focus: () => {
      terminal.focus();
    },
    paste: (text) => {
      terminal.paste(text);
    },
    type: (character) => {
      // What a terminal sends for the key (DEL for backspace, CR for enter).
      const sent = { "\b": "\x7f", "\n": "\r" }[character] ?? character;
      send(encoder.encode(sent));
    },
    lookOnly: () => {
      terminal.options.disableStdin = true;
      terminal.options.cursorBlink = false;
    },
    runs: () => {
      arrival.seen();
    },
    close: () => {
      arrival.end();
      observer.disconnect();
      terminal.dispose();
      socket.close();
    },
  };
}
