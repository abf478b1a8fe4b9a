// The page in English.

import type { Breakage } from "./view.ts";
import type { Words } from "./words.ts";

const KEEP_AWAKE = "Move the mouse or press a key in it to keep it awake.";

const BREAKAGES: Readonly<Record<Breakage, string>> = {
  refused: "the machine's console refused the connection",
  notRfb: "the machine's console sent something that is not RFB",
};

export const ENGLISH: Words = {
  language: "en",
  labels: {
    "view-only": "View only",
    clipboard: "Clipboard",
    fit: "Fit to window",
    "full-screen": "Full screen",
    disconnect: "Disconnect",
    "clipboard-label": "Text to and from the machine",
    "clipboard-copy": "Copy to this device",
    "clipboard-close": "Close",
    "link-label": "New link or token",
    "link-open": "Open",
    licences: "Licences",
  },
  names: {
    tools: "Console",
    layout: "The machine's keyboard layout",
    "clipboard-panel": "Clipboard",
    view: "The machine's console",
    keys: "Keys for the machine",
  },
  buttons: {
    keyboard: "Keyboard",
    inputMethod: "Input method",
    send: "Send to the machine",
    typeIn: "Type into the machine",
    stopTyping: "Stop typing",
  },
  said: {
    connected: "Connected.",
    connectedSerial: "Connected. Press Enter when nothing is shown.",
    connectedViewOnly: "Connected. You look only: keys and pointer do not reach the machine.",
    waitingForDesktop: "Waiting for the desktop.",
    copied: "The machine's clipboard has new text.",
    sent: "Text sent to the machine.",
    typed: "The text is typed into the machine.",
    stopped: "The rest of the text is not typed.",
    copiedHere: "Text copied to this device.",
    cannotCopy: "The browser does not let this page copy. The text is selected: copy it by hand.",
    noFullScreen: "The browser does not allow full screen here.",
  },
  console: "Console",
  sentence: (why) => why.sentence,
  advice: (step, why) => {
    switch (step.kind) {
      case "retry":
      case "return":
      case "renew":
        return "This page connects again by itself.";
      case "rest":
        return "This page connects again when the network is back or you return to this tab.";
      case "moved":
        return "It can be in one tab at a time. Use it here to end it there.";
      case "over":
        return "This session cannot be opened again. For another one, paste its link.";
      case "ask":
        if (step.again) {
          return "Connect again, or paste a new link or token.";
        }
        return why?.reason === "ResumeRefused"
          ? "A console waits for a few minutes for the browser that lost it, and for nobody who left it. To go on, paste a new link or token."
          : "To go on, paste a new link or token. Each one opens the console once, unless it was made for more.";
    }
  },
  press: { return: "Connect again", "take back": "Use it here", renew: "Ask for a new token" },
  title: {
    ended: "The console has ended",
    elsewhere: "This console is open elsewhere",
    needsLink: "This page needs a link",
    notNow: "The console is not there now",
    noToken: "There is no new token",
    left: "You have left the console",
    ssh: "This link is for SSH",
  },
  connecting: "Connecting.",
  comingBack: "Coming back to the console.",
  askingForToken: "Asking for a new token.",
  again: (sentence, seconds) => `${sentence} Trying again in ${seconds} s.`,
  opensOnce: "A link to a console opens it once.",
  pasteLink: "Paste a new link or token.",
  notALink: "This is neither a link to a console nor a token.",
  connectionClosed: "The connection is closed.",
  unanswered: "The page that shows this console gave no new token.",
  notGiven: "No new token was given.",
  sshText: (url) =>
    `A browser cannot speak SSH. Use an SSH client on your computer: its ProxyCommand connects to ${url} by WebSocket, with the token of this link.`,
  sshAdvice: "The documentation of the console gateway shows the command. To open a screen here, paste its link.",
  broke: (why, said) => `The console broke: ${said ?? BREAKAGES[why]}.`,
  awaited: {
    Asleep: {
      title: "This desktop sleeps. It is being woken…",
      text: "You need not do anything: it is shown here as soon as it answers.",
    },
    Starting: {
      title: "Its programs are starting…",
      text: "This desktop is awake and is getting ready. It is shown here as soon as it answers.",
    },
  },
  waited: (seconds) => `Waited ${seconds} s.`,
  sleeps: {
    schedule: (at) => `This desktop goes to sleep at ${at} because of its schedule. Its home is kept; save what is open.`,
    viewOnly: (at) =>
      `This desktop goes to sleep at ${at} unless somebody uses it. You only look, which does not keep it awake.`,
    idle: (at) => `This desktop goes to sleep at ${at} because nobody types. ${KEEP_AWAKE}`,
    unused: (at) => `This desktop goes to sleep at ${at} unless somebody uses it. ${KEEP_AWAKE}`,
  },
  layouts: {
    us: "English (US)",
    gb: "English (UK)",
    de: "German",
    fr: "French",
    jp: "Japanese",
    es: "Spanish",
    it: "Italian",
  },
  keysByPlace: "Keys by their place",
  guest: (layout) => `Guest: ${layout}`,
  noKey: (layout, named, more) =>
    `No key of the machine's keyboard (${layout}) gives ${named}${more > 0 ? ` and ${more} more` : ""}, so these are left out. ` +
    "Choose the keyboard that the machine is set to, or type them with an input method in the machine.",
  onlyFirst: (limit) => `Only the first ${limit} characters are typed.`,
};
