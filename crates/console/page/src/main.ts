// One console: from the link to its end, and again.

import { Controls, element } from "./controls.ts";
import { Course, type Entry, type Outcome } from "./course.ts";
import { allowedOrigins, Embedder, findPeer, TokenRefused, Unanswered } from "./embedder.ts";
import { type Link, type Protocol, readFragment, readPasted, targetUrl, webSocketUrl, withoutToken } from "./fragment.ts";
import { label } from "./labels.ts";
import { Notice } from "./notice.ts";
import { ABNORMAL, explain, type Explanation, type Retry } from "./reconnect.ts";
import type { openScreen } from "./screen.ts";
import { askGateway, type TargetView, TargetWatch } from "./target.ts";
import type { View } from "./view.ts";
import { Waiting } from "./waiting.ts";
import { listenForWaking } from "./wake.ts";
import { languageOf, WORDS, wantedLanguages } from "./words.ts";

/** `binary` is what the gateway echoes, so that the token is in no answer. */
const SUBPROTOCOL = "binary";
const subprotocols = (entry: Entry): string[] =>
  entry.by === "token" ? [SUBPROTOCOL, `novasphere.token.${entry.token}`] : [SUBPROTOCOL];

/** How long a line that may be dead may be silent after a question. */
const SILENCE_MS = 5000;

/** What the history remembers of a page that loads itself again. */
const RELOADED = "reloaded";
const WAS_RELOADED = history.state === RELOADED;

type State = "starting" | "connecting" | "connected" | "waiting" | "ended";

class Page {
  #link: Link;
  #view: View | undefined;
  #socket: WebSocket | undefined;
  #isSuspended = false;
  #attempt = 0;
  /** Messages that have come over the present line. */
  #heard = 0;
  #opening: number | undefined;
  #watch: TargetWatch | undefined;
  /** What was said last about looking only: by the link, by the embedder, or by the gateway. */
  #viewOnly = false;
  readonly #words = WORDS[languageOf(wantedLanguages(location.search, navigator.languages))];
  readonly #waiting = new Waiting(this.#words);
  readonly #embedder: Embedder | undefined;
  readonly #course: Course;
  readonly #controls: Controls;
  readonly #notice: Notice;
  readonly #target = element("view", HTMLElement);
  readonly #status = element("status", HTMLElement);

  constructor(link: Link, embedder: (about: () => Link) => Embedder | undefined) {
    label(this.#words);
    this.#link = link;
    this.#embedder = embedder(() => this.#link);
    this.#course = new Course(
      {
        connect: (entry) => {
          void this.#connect(entry);
        },
        renew: () => {
          void this.#renew();
        },
        pause: (why, retry) => {
          this.#pause(why, retry);
        },
        end: (outcome) => {
          this.#over(outcome);
        },
        tell: (code, why) => {
          this.#embedder?.tell({ type: "closed", code, ...why });
        },
      },
      { canAskForToken: this.#embedder !== undefined },
    );
    this.#controls = new Controls(
      (what) => {
        this.#say(what);
      },
      () => {
        this.#leave();
      },
      this.#words,
    );
    this.#notice = new Notice({
      pasted: (text) => this.#pasted(text),
      pressed: () => {
        this.#course.pressed();
      },
    });
  }

  /** Connects with the token of the link, or comes back to its session, or gets a token. */
  start(): void {
    this.#name();
    if (this.#link.protocol === "ssh") {
      this.#ssh();
    } else {
      this.#course.begin(this.#link.token, this.#link.session);
    }
  }

  /** Leaves what is shown for the console of another link. */
  follow(link: Link): void {
    const isPresent = link.session === this.#link.session && link.protocol === this.#link.protocol;
    // An address that was edited, and names no other console.
    const isNothing = link.token === undefined && (link.session === undefined || (isPresent && !isEnded()));
    if (!isNothing) {
      this.#link = link;
      this.start();
    }
  }

  /** Somebody or something is back that was away. `isSuspect`: an open line may be dead. */
  woken(isSuspect: boolean): void {
    if (this.#socket?.readyState === WebSocket.CONNECTING && this.#course.isOverdue()) {
      this.#closed(ABNORMAL, false);
    } else if (isSuspect && document.body.dataset["state"] === "connected") {
      this.#question();
    }
    this.#course.woken();
  }

  /** Nobody looks any more, and whoever else wants the console has it sooner. Without a code: the place is kept. */
  suspended(): void {
    const socket = this.#socket;
    this.#isSuspended = socket !== undefined;
    // What the gateway answers is no end of the console.
    this.#socket = undefined;
    socket?.close();
  }

  /** The page was kept by the browser, without its line. */
  restored(): void {
    if (this.#socket !== undefined || this.#isSuspended) {
      this.#isSuspended = false;
      this.#closed(ABNORMAL, true);
    }
    this.#course.woken();
  }

  async #connect(entry: Entry): Promise<void> {
    this.#stop();
    const attempt = this.#attempt;
    this.#state("connecting");
    this.#say(entry.by === "token" ? this.#words.connecting : this.#words.comingBack);
    this.#notice.hide();
    const { protocol, viewOnly, session } = this.#link;
    this.#viewOnly = viewOnly;
    const open = await opener(protocol).catch(() => undefined);
    if (this.#attempt !== attempt) {
      return;
    }
    if (open === undefined) {
      await this.#unloadable(entry, attempt);
      return;
    }
    if (this.#course.asksFirst() && !(await isPageServed(this.#course.openingTime()))) {
      if (this.#attempt === attempt) {
        this.#closed(ABNORMAL, false);
      }
      return;
    }
    if (this.#attempt !== attempt) {
      return;
    }
    this.#waiting.begin();
    // A token is good for this as long as the stream that it opened.
    const token = entry.by === "token" ? entry.token : undefined;
    this.#watch = new TargetWatch(
      () => askGateway(targetUrl(location.href, session), token),
      (view) => {
        this.#told(view);
      },
    );
    const socket = new WebSocket(webSocketUrl(location.href, session), subprotocols(entry));
    this.#socket = socket;
    this.#listen(socket);
    this.#view = open(this.#target, socket, viewOnly, {
      opened: () => {
        this.#opened();
      },
      named: (name) => {
        this.#name(name);
      },
      copied: (text) => {
        this.#controls.copied(text);
      },
      broken: (why, said) => {
        this.#say(this.#words.broke(why, said));
      },
    });
  }

  /**
   * A file of the page is not to be had. It may be of another version than the page, because the gateways are being updated: then the
   * page is loaded again, once, with what it has.
   */
  async #unloadable(entry: Entry, attempt: number): Promise<void> {
    const isServed = !WAS_RELOADED && (await isPageServed(this.#course.openingTime()));
    if (this.#attempt !== attempt) {
      return;
    }
    if (isServed) {
      const token = entry.by === "token" ? `&token=${entry.token}` : "";
      history.replaceState(RELOADED, "", `${withoutToken(this.#link)}${token}`);
      location.reload();
    } else {
      this.#closed(ABNORMAL, false);
    }
  }

  #listen(socket: WebSocket): void {
    let wasOpen = false;
    this.#heard = 0;
    this.#opening = window.setTimeout(() => {
      if (this.#socket === socket && !wasOpen) {
        this.#closed(ABNORMAL, false);
      }
    }, this.#course.openingTime());
    socket.addEventListener("open", () => {
      wasOpen = true;
    });
    socket.addEventListener("message", () => {
      this.#heard += 1;
    });
    socket.addEventListener("close", ({ code }) => {
      if (this.#socket === socket) {
        this.#closed(code, wasOpen);
      }
    });
  }

  #opened(): void {
    this.#course.opened();
    this.#state("connected");
    this.#watch?.shown();
    this.#waiting.shown();
    const { connected, connectedSerial, connectedViewOnly } = this.#words.said;
    const isReady = this.#link.protocol === "serial" ? connectedSerial : connected;
    this.#say(this.#viewOnly ? connectedViewOnly : isReady);
    this.#attach();
    this.#view?.focus();
    this.#embedder?.tell({ type: "connected" });
  }

  /** Offers what the console can do now. */
  #attach(): void {
    element("view-only", HTMLElement).hidden = !this.#viewOnly;
    if (this.#view !== undefined) {
      this.#controls.attach(this.#view, this.#viewOnly);
    }
  }

  /** The gateway has said how the target is. */
  #told(view: TargetView): void {
    if (view.state === "Running") {
      this.#view?.runs?.();
    }
    this.#controls.told(view);
    const connected = document.body.dataset["state"] === "connected";
    this.#waiting.told(view, connected);
    if (!connected) {
      // What sleeps or starts may take longer than people expect of a connection.
      this.#say(view.state === "Running" ? this.#words.connecting : this.#words.said.waitingForDesktop);
    }
    if (view.viewOnly && !this.#viewOnly) {
      this.#viewOnly = true;
      this.#view?.lookOnly();
      if (connected) {
        this.#attach();
      }
    }
  }

  #closed(code: number, wasOpen: boolean): void {
    this.#stop();
    this.#course.closed(code, wasOpen);
  }

  /** Has the machine answer over a line that may be dead. Where it cannot be asked, the line has to say something by itself. */
  #question(): void {
    const [attempt, heard] = [this.#attempt, this.#heard];
    this.#view?.probe?.();
    window.setTimeout(() => {
      if (this.#attempt === attempt && this.#heard === heard) {
        this.#closed(ABNORMAL, true);
      }
    }, SILENCE_MS);
  }

  #pause(why: Explanation, retry: Retry): void {
    const sentence = this.#words.sentence(why);
    this.#state("waiting", why.reason);
    this.#say(this.#words.again(sentence, retry.seconds));
    const advice = this.#words.advice(retry, why);
    this.#notice.show(this.#words.title.notNow, sentence, advice, { form: false, button: undefined });
  }

  #over({ title, why, step, press }: Outcome): void {
    const words = this.#words;
    this.#ended(
      words.title[title],
      why === undefined ? words.opensOnce : words.sentence(why),
      why === undefined ? words.pasteLink : words.advice(step, why),
      { reason: why?.reason, button: press && words.press[press] },
    );
  }

  /** Asks the embedder for a token and connects with it. */
  async #renew(): Promise<void> {
    if (this.#embedder === undefined) {
      return;
    }
    this.#stop();
    this.#state("connecting");
    this.#say(this.#words.askingForToken);
    this.#notice.hide();
    const attempt = this.#attempt;
    try {
      const { token, viewOnly } = await this.#embedder.askForToken();
      if (this.#attempt !== attempt) {
        return;
      }
      this.#link = { ...this.#link, viewOnly: viewOnly ?? this.#link.viewOnly };
      this.#course.renewed(token);
    } catch (error) {
      if (!(error instanceof TokenRefused)) {
        throw error;
      }
      // Meanwhile a person has brought one.
      if (this.#attempt !== attempt) {
        return;
      }
      this.#course.notRenewed(error instanceof Unanswered);
      const { title, pasteLink, press, unanswered, notGiven } = this.#words;
      const why = error instanceof Unanswered ? unanswered : error.said === undefined ? notGiven : `${error.said}.`;
      this.#ended(title.noToken, why, pasteLink, { button: press.renew });
    }
  }

  #pasted(text: string): string | undefined {
    const link = readPasted(text, this.#link);
    if (link === undefined) {
      return this.#words.notALink;
    }
    this.follow(link);
    return undefined;
  }

  /** A page cannot speak SSH. The token is not used up by this. */
  #ssh(): void {
    this.#stop();
    this.#course.left();
    const { title, sshText, sshAdvice } = this.#words;
    const text = sshText(webSocketUrl(location.href));
    this.#ended(title.ssh, text, sshAdvice, { reason: "Ssh", button: this.#renewButton() });
  }

  #leave(): void {
    // Before the console closes it without a code: the gateway keeps the place of everybody who does not say that they leave.
    this.#socket?.close(1000);
    this.#stop();
    this.#course.left();
    this.#embedder?.tell({ type: "closed", code: 1000, ...explain(1000, true) });
    const { title, connectionClosed, advice } = this.#words;
    const advise = advice({ kind: "ask", again: false }, undefined);
    this.#ended(title.left, connectionClosed, advise, { reason: "ViewerLeft", button: this.#renewButton() });
  }

  #renewButton(): string | undefined {
    return this.#embedder && this.#words.press.renew;
  }

  #ended(
    title: string,
    text: string,
    advice: string,
    { reason, button }: { reason?: string | undefined; button?: string | undefined },
  ): void {
    this.#state("ended", reason);
    this.#say(text);
    this.#notice.show(title, text, advice, { form: true, button });
  }

  /** Ends what runs: no event of an earlier socket counts any more. */
  #stop(): void {
    this.#attempt += 1;
    window.clearTimeout(this.#opening);
    this.#watch?.stop();
    this.#watch = undefined;
    this.#waiting.end();
    const [view, socket] = [this.#view, this.#socket];
    this.#view = undefined;
    this.#socket = undefined;
    this.#controls.detach();
    view?.close();
    socket?.close();
    this.#target.replaceChildren();
    element("view-only", HTMLElement).hidden = true;
  }

  #state(state: State, reason?: string): void {
    document.body.dataset["state"] = state;
    document.body.dataset["reason"] = reason ?? "";
  }

  #say(what: string): void {
    this.#status.textContent = what;
  }

  #name(machine?: string): void {
    const page = this.#words.console;
    const shown = this.#link.session ?? machine;
    element("name", HTMLElement).textContent = shown ?? page;
    document.title = shown === undefined ? page : `${shown} - ${page}`;
  }
}

/** Whether the gateway answers at all, within these milliseconds. */
function isPageServed(patience: number): Promise<boolean> {
  const signal = AbortSignal.timeout(patience);
  return fetch(location.pathname, { method: "HEAD", cache: "no-store", signal }).then(
    ({ ok }) => ok,
    () => false,
  );
}

function isEnded(): boolean {
  return document.body.dataset["state"] === "ended";
}

function takeLink(): Link {
  const link = readFragment(location.hash);
  // Before anything else: the address bar, the history and screenshots shall not hold a token.
  history.replaceState(null, "", withoutToken(link));
  return link;
}

// The one that is not needed is not fetched.
async function opener(protocol: Protocol): Promise<typeof openScreen> {
  return protocol === "serial"
    ? (await import("./terminal.ts")).openTerminal
    : (await import("./screen.ts")).openScreen;
}

const page = new Page(takeLink(), (about) => {
  const peer = findPeer(window);
  const listed = document.querySelector<HTMLMetaElement>("meta[name=novasphere-embedders]")?.content ?? "";
  return peer && new Embedder(peer, window, allowedOrigins(listed, location.origin), about);
});
page.start();

listenForWaking(window, page);

// A link that is pasted into the address bar of this page does not load it again: only the fragment differs. Nor does a step back to
// the link before.
window.addEventListener("hashchange", () => {
  page.follow(takeLink());
});
