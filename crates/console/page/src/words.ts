// What the page says, in the language of the person: Chinese, or else English. The texts are in words_en.ts and words_zh.ts. What a
// machine, a gateway of another version or an embedder says is shown as it is.

import type { Press } from "./course.ts";
import type { Explanation, Step } from "./reconnect.ts";
import type { AwaitedState, SleepCause } from "./target.ts";
import type { Breakage } from "./view.ts";
import { ENGLISH } from "./words_en.ts";
import { CHINESE } from "./words_zh.ts";

export type Language = "en" | "zh";

/** The first of the languages that a browser asks for (`navigator.languages`) that the page speaks. */
export function languageOf(wanted: readonly string[]): Language {
  for (const tag of wanted) {
    const primary = tag.toLowerCase().split("-", 1)[0];
    if (primary === "zh" || primary === "en") {
      return primary;
    }
  }
  return "en";
}

/** What is asked for: by `?lang=` of the address, with which a portal has the page speak as it does itself, and then by the browser. */
export function wantedLanguages(query: string, ofBrowser: readonly string[]): readonly string[] {
  const asked = new URLSearchParams(query).get("lang");
  return asked === null ? ofBrowser : [asked, ...ofBrowser];
}

/** Elements of index.html whose text is the same all the time, by their id. */
export type Label =
  | "view-only"
  | "clipboard"
  | "fit"
  | "full-screen"
  | "disconnect"
  | "clipboard-label"
  | "clipboard-copy"
  | "clipboard-close"
  | "link-label"
  | "link-open"
  | "licences";

/** Elements of index.html that have a name for screen readers, by their id. */
export type Named = "tools" | "layout" | "clipboard-panel" | "view" | "keys";

/** Buttons whose text changes. */
export type Button = "keyboard" | "inputMethod" | "send" | "typeIn" | "stopTyping";

/** What has just happened. */
export type Said =
  | "connected"
  | "connectedSerial"
  | "connectedViewOnly"
  | "waitingForDesktop"
  | "copied"
  | "sent"
  | "typed"
  | "stopped"
  | "copiedHere"
  | "cannotCopy"
  | "noFullScreen";

/** The keyboard layouts of keyboards.ts. */
export type LayoutName = "us" | "gb" | "de" | "fr" | "jp" | "es" | "it";

export interface TitledText {
  readonly title: string;
  readonly text: string;
}

export interface Words {
  readonly language: Language;
  readonly labels: Readonly<Record<Label, string>>;
  readonly names: Readonly<Record<Named, string>>;
  readonly buttons: Readonly<Record<Button, string>>;
  readonly said: Readonly<Record<Said, string>>;
  /** The page, where nothing else has a name. */
  readonly console: string;
  /** Why a console ended. */
  sentence(why: Explanation): string;
  /** What is said after that. */
  advice(step: Step, why: Explanation | undefined): string;
  readonly press: Readonly<Record<Press, string>>;
  readonly title: Readonly<Record<"ended" | "elsewhere" | "needsLink" | "notNow" | "noToken" | "left" | "ssh", string>>;
  readonly connecting: string;
  readonly comingBack: string;
  readonly askingForToken: string;
  again(sentence: string, seconds: number): string;
  /** Of a page that was opened without anything. */
  readonly opensOnce: string;
  readonly pasteLink: string;
  readonly notALink: string;
  readonly connectionClosed: string;
  /** An embedder did not answer, or gave no token without a word. */
  readonly unanswered: string;
  readonly notGiven: string;
  /** Of a link for SSH, with the address of the WebSocket. */
  sshText(url: string): string;
  readonly sshAdvice: string;
  /** `said`: by the machine. */
  broke(why: Breakage, said: string | undefined): string;
  /** In place of the picture of a desktop that is still to come. */
  readonly awaited: Readonly<Record<AwaitedState, TitledText>>;
  waited(seconds: number): string;
  /** Before a desktop goes to sleep at this time of day. */
  readonly sleeps: Readonly<Record<SleepCause, (at: string) => string>>;
  readonly layouts: Readonly<Record<LayoutName, string>>;
  /** No layout of the machine's keyboard is chosen. */
  readonly keysByPlace: string;
  guest(layout: string): string;
  /** Characters that no key of the machine gives: those that are named, and how many more there are. */
  noKey(layout: string, named: string, more: number): string;
  onlyFirst(limit: number): string;
}

export const WORDS: Readonly<Record<Language, Words>> = { en: ENGLISH, zh: CHINESE };
