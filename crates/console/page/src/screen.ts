// A screen: RFB by noVNC.

import RFB from "@novnc/novnc";

import type { View, ViewEvents } from "./view.ts";

/** X11 keysyms (X11/keysymdef.h) of what on-screen keyboards send beside characters. */
const KEYSYMS: ReadonlyMap<string, number> = new Map([
  ["\b", 0xff08],
  ["\t", 0xff09],
  ["\n", 0xff0d],
]);

/** The keysym of a character: Latin-1 as it is, all others by their Unicode number (X11/keysymdef.h). */
export function keysym(character: string): number {
  const code = character.codePointAt(0) ?? 0;
  return KEYSYMS.get(character) ?? (code < 0x100 ? code : 0x0100_0000 + code);
}

/** A copy that can be sent elsewhere. Locks are no properties of an event, so they are not copied with it. */
function copied(event: KeyboardEvent): KeyboardEvent {
  const { key, code, location, repeat, ctrlKey, shiftKey, altKey, metaKey } = event;
  return new KeyboardEvent(event.type, {
    key,
    code,
    location,
    repeat,
    ctrlKey,
    shiftKey,
    altKey,
    metaKey,
    modifierAltGraph: event.getModifierState("AltGraph"),
    modifierCapsLock: event.getModifierState("CapsLock"),
    modifierNumLock: event.getModifierState("NumLock"),
  });
}

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
    events.broken(event.detail.reason ?? "the machine's console refused the connection");
  });
  rfb.addEventListener("disconnect", (event) => {
    // The socket's own close event says the rest.
    if (!event.detail.clean && socket.readyState === WebSocket.OPEN) {
      events.broken("the machine's console sent something that is not RFB");
    }
  });
  return {
    focus: () => {
      rfb.focus({ preventScroll: true });
    },
    paste: (text) => {
      rfb.clipboardPasteFrom(text);
    },
    type: (character) => {
      rfb.sendKey(keysym(character), null);
    },
    key: (event) => {
      // noVNC listens at its canvas.
      target.querySelector("canvas")?.dispatchEvent(copied(event));
    },
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
      rfb.disconnect();
    },
  };
}
