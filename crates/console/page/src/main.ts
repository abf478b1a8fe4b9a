// One console: from the link to its end, and again.

import { Controls, element } from "./controls.ts";
import { allowedOrigins, Embedder, findPeer, TokenRefused } from "./embedder.ts";
import { type Link, type Protocol, readFragment, readPasted, targetUrl, webSocketUrl, withoutToken } from "./fragment.ts";
import { Notice } from "./notice.ts";
import { advice, explain, next, type Step } from "./reconnect.ts";
import type { openScreen } from "./screen.ts";
import { askGateway, type TargetView, TargetWatch } from "./target.ts";
import type { View } from "./view.ts";
import { Waiting } from "./waiting.ts";

/** `binary` is what the gateway echoes, so that the token is in no answer. */
const SUBPROTOCOLS = (token: string): string[] => ["binary", `novasphere.token.${token}`];

/** After a stream has lived this long, the next break counts as the first. */
const STABLE_MS = 30_000;

type State = "starting" | "connecting" | "connected" | "waiting" | "ended";

class Page {
  #link: Link;
  #view: View | undefined;
  #socket: WebSocket | undefined;
  #attempt = 0;
  #tries = 0;
  #timer: number | undefined;
  #watch: TargetWatch | undefined;
  /** What was said last about looking only: by the link, by the embedder, or by the gateway. */
  #viewOnly = false;
  readonly #waiting = new Waiting();
  readonly #embedder: Embedder | undefined;
  readonly #controls: Controls;
  readonly #notice: Notice;
  readonly #target = element("view", HTMLElement);
  readonly #status = element("status", HTMLElement);

  constructor(link: Link, embedder: (about: () => Link) => Embedder | undefined) {
    this.#link = link;
    this.#embedder = embedder(() => this.#link);
    this.#controls = new Controls(
      (what) => {
        this.#say(what);
      },
      () => {
        this.#leave();
      },
    );
    this.#notice = new Notice({
      pasted: (text) => this.#pasted(text),
      again: () => {
        void this.#renew();
      },
    });
  }

  /** Connects when there is a token, else gets one. */
  start(): void {
    this.#name();
    if (this.#link.protocol === "ssh") {
      this.#ssh();
    } else if (this.#link.token !== undefined) {
      void this.#connect(this.#link.token);
    } else if (this.#embedder !== undefined) {
      void this.#renew();
    } else {
      this.#ended("This page needs a link", "A link to a console opens it once.", "Paste a new link or token.");
    }
  }

  /** Leaves what is shown for the console of another link. */
  follow(link: Link & { readonly token: string }): void {
    this.#link = link;
    this.#tries = 0;
    this.#name();
    if (link.protocol === "ssh") {
      this.#ssh();
    } else {
      void this.#connect(link.token);
    }
  }

  async #connect(token: string): Promise<void> {
    this.#stop();
    const attempt = this.#attempt;
    this.#state("connecting");
    this.#say("Connecting.");
    this.#notice.hide();
    const { protocol, viewOnly } = this.#link;
    this.#viewOnly = viewOnly;
    const open = await opener(protocol);
    if (this.#attempt !== attempt) {
      return;
    }
    this.#waiting.begin();
    this.#watch = new TargetWatch(
      () => askGateway(targetUrl(location.href), token),
      (view) => {
        this.#told(view);
      },
    );
    const socket = new WebSocket(webSocketUrl(location.href, this.#link.session), SUBPROTOCOLS(token));
    this.#socket = socket;
    let wasOpen = false;
    let openedAt: number | undefined;
    socket.addEventListener("open", () => {
      wasOpen = true;
    });
    socket.addEventListener("close", ({ code }) => {
      if (this.#socket === socket) {
        if (openedAt !== undefined && performance.now() - openedAt > STABLE_MS) {
          this.#tries = 0;
        }
        this.#closed(code, wasOpen, token);
      }
    });
    this.#view = open(this.#target, socket, viewOnly, {
      opened: () => {
        openedAt = performance.now();
        this.#opened();
      },
      named: (name) => {
        this.#name(name);
      },
      copied: (text) => {
        this.#controls.copied(text);
      },
      broken: (why) => {
        this.#say(`The console broke: ${why}.`);
      },
    });
  }

  #opened(): void {
    this.#state("connected");
    this.#watch?.shown();
    this.#waiting.shown();
    const hint = this.#link.protocol === "serial" && !this.#viewOnly ? " Press Enter when nothing is shown." : "";
    this.#say(this.#viewOnly ? "Connected. You look only: keys and pointer do not reach the machine." : `Connected.${hint}`);
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
    this.#controls.told(view.kind);
    const connected = document.body.dataset["state"] === "connected";
    this.#waiting.told(view, connected);
    if (!connected) {
      // What sleeps or starts may take longer than people expect of a connection.
      this.#say(view.state === "Running" ? "Connecting." : "Waiting for the desktop.");
    }
    if (view.viewOnly && !this.#viewOnly) {
      this.#viewOnly = true;
      this.#view?.lookOnly();
      if (connected) {
        this.#attach();
      }
    }
  }

  #closed(code: number, wasOpen: boolean, token: string): void {
    const why = explain(code, wasOpen);
    const step = next({ code, wasOpen, canAskForToken: this.#embedder !== undefined, tries: this.#tries });
    this.#stop();
    this.#embedder?.tell({ type: "closed", code, ...why });
    if (step.kind === "ask" || step.kind === "over") {
      this.#ended("The console has ended", why.sentence, advice(step), why.reason);
    } else {
      this.#wait(step, why.sentence, why.reason, token);
    }
  }

  #wait(step: Step & { seconds: number }, sentence: string, reason: string, token: string): void {
    this.#tries += 1;
    this.#state("waiting", reason);
    this.#say(`${sentence} Trying again in ${step.seconds} s.`);
    this.#notice.show("The console is not there now", sentence, advice(step), { form: false, again: false });
    this.#timer = window.setTimeout(() => {
      void (step.kind === "retry" ? this.#connect(token) : this.#renew());
    }, step.seconds * 1000);
  }

  /** Asks the embedder for a token and connects with it. */
  async #renew(): Promise<void> {
    if (this.#embedder === undefined) {
      return;
    }
    this.#stop();
    this.#state("connecting");
    this.#say("Asking for a new token.");
    const attempt = this.#attempt;
    try {
      const { token, viewOnly } = await this.#embedder.askForToken();
      if (this.#attempt !== attempt) {
        return;
      }
      this.#link = { ...this.#link, viewOnly: viewOnly ?? this.#link.viewOnly };
      await this.#connect(token);
    } catch (error) {
      if (!(error instanceof TokenRefused)) {
        throw error;
      }
      // Meanwhile a person has brought one.
      if (this.#attempt !== attempt) {
        return;
      }
      this.#ended("There is no new token", `${error.message}.`, "Paste a new link or token.");
    }
  }

  #pasted(text: string): string | undefined {
    const link = readPasted(text, this.#link);
    if (link === undefined) {
      return "This is neither a link to a console nor a token.";
    }
    this.follow(link);
    return undefined;
  }

  /** A page cannot speak SSH. The token is not used up by this. */
  #ssh(): void {
    this.#stop();
    this.#ended(
      "This link is for SSH",
      `A browser cannot speak SSH. Use an SSH client on your computer: its ProxyCommand connects to ${webSocketUrl(location.href)} by WebSocket, with the token of this link.`,
      "The documentation of the console gateway shows the command. To open a screen here, paste its link.",
      "Ssh",
    );
  }

  #leave(): void {
    this.#stop();
    this.#embedder?.tell({ type: "closed", code: 1000, ...explain(1000, true) });
    this.#ended("You have left the console", "The connection is closed.", advice({ kind: "ask" }), "ViewerLeft");
  }

  #ended(title: string, text: string, advise: string, reason?: string): void {
    this.#state("ended", reason);
    this.#say(text);
    this.#notice.show(title, text, advise, { form: true, again: this.#embedder !== undefined });
  }

  /** Ends what runs: no event of an earlier socket counts any more. */
  #stop(): void {
    this.#attempt += 1;
    window.clearTimeout(this.#timer);
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
    const shown = this.#link.session ?? machine ?? "Console";
    element("name", HTMLElement).textContent = shown;
    document.title = shown === "Console" ? shown : `${shown} - Console`;
  }
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

// A link that is pasted into the address bar of this page does not load it again: only the fragment differs.
window.addEventListener("hashchange", () => {
  const { token, ...link } = takeLink();
  if (token !== undefined) {
    page.follow({ ...link, token });
  }
});
