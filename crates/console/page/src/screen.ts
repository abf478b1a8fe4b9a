// A screen: RFB by noVNC.

import RFB from "@novnc/novnc";

import { keysym } from "./keystrokes.ts";
import { copied, ScreenKeys } from "./screen_keys.ts";
import type { View, ViewEvents } from "./view.ts";

/** FramebufferUpdateRequest (RFC 6143 section 7.5.3) for the first pixel, whether it has changed or not. */
const ONE_PIXEL = Uint8Array.of(3, 0, 0, 0, 0, 0, 0, 1, 0, 1);

export function openScreen(target: HTMLElement, socket: WebSocket, viewOnly: boolean, events: ViewEvents): View {
  const rfb = new RFB(target, socket, { shared: true });
  rfb.viewOnly = viewOnly;
  rfb.scaleViewport = true;
  rfb.showDotCursor = true;
  rfb.background = "transparent";
  rfb.addEventListener("connect", () => {
    events.opened();
  });
  rfb.addEventListener("desktopname", (event) => {
    events.named(event.detail.name);
  });
  rfb.addEventListener("clipboard", (event) => {
    events.copied(event.detail.text);
  });
  rfb.addEventListener("securityfailure", (event) => {
    events.broken("refused", event.detail.reason);
  });
  rfb.addEventListener("disconnect", (event) => {
    // The socket's own close event says the rest.
    if (!event.detail.clean && socket.readyState === WebSocket.OPEN) {
      events.broken("notRfb");
    }
  });
  const capsLock = (): boolean | undefined => rfb._remoteCapsLock ?? undefined;
  const keys = new ScreenKeys(
    target,
    ({ keysym: symbol, code, down }) => {
      rfb.sendKey(symbol, code, down);
    },
    capsLock,
  );
  return {
    focus: () => {
      rfb.focus({ preventScroll: true });
    },
    paste: (text) => {
      rfb.clipboardPasteFrom(text);
    },
    type: (character) => {
      // By its keysym alone.
      const key = { code: "", keysym: keysym(character) };
      keys.typing.add([[{ ...key, down: true }, { ...key, down: false }]]);
    },
    key: (event) => {
      // noVNC listens at its canvas.
      target.querySelector("canvas")?.dispatchEvent(copied(event));
    },
    typing: keys.typing,
    translate: (keyboard) => {
      keys.translate(keyboard);
    },
    capsLock,
    ctrlAltDel: () => {
      rfb.sendCtrlAltDel();
    },
    fit: (on) => {
      rfb.scaleViewport = on;
      rfb.clipViewport = !on;
      // One finger moves the picture when it is larger than the window.
      rfb.dragViewport = !on && rfb.viewOnly;
    },
    probe: () => {
      // noVNC sends whole messages, so this is between two of them.
      if (socket.readyState === WebSocket.OPEN) {
        socket.send(ONE_PIXEL);
      }
    },
    lookOnly: () => {
      rfb.viewOnly = true;
    },
    close: () => {
      keys.end();
      rfb.disconnect();
    },
  };
}
