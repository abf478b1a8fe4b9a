// One console: from the link to its end, and again.

import { Controls, element } from "./controls.ts";
import { allowedOrigins, Embedder, findPeer, TokenRefused } from "./embedder.ts";
import { type Link, type Protocol, readFragment, readPasted, webSocketUrl, withoutToken } from "./fragment.ts";
import { Notice } from "./notice.ts";
import { advice, explain, next, type Step } from "./reconnect.ts";
import type { openScreen } from "./screen.ts";
import type { View } from "./view.ts";

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
    if (this.#link.token !== undefined) {
      void this.#connect(this.#link.token);
    } else if (this.#embedder !== undefined) {
      void this.#renew();
    } else {
      this.#ended("This page needs a link", "A link to a console opens it once.", "Paste a new link or token.");
    }
  }

  async #connect(token: string): Promise<void> {
    this.#stop();
    const attempt = this.#attempt;
    this.#state("connecting");
    this.#say("Connecting.");
    this.#notice.hide();
    const { protocol, viewOnly } = this.#link;
    const open = await opener(protocol);
    if (this.#attempt !== attempt) {
      return;
    }
    const socket = new WebSocket(webSocketUrl(location.href), SUBPROTOCOLS(token));
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
    const { protocol, viewOnly } = this.#link;
    const hint = protocol === "serial" && !viewOnly ? " Press Enter when nothing is shown." : "";
    this.#say(viewOnly ? "Connected. You look only: keys and pointer do not reach the machine." : `Connected.${hint}`);
    element("view-only", HTMLElement).hidden = !viewOnly;
    if (this.#view !== undefined) {
      this.#controls.attach(this.#view, viewOnly);
      this.#view.focus();
    }
    this.#embedder?.tell({ type: "connected" });
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
    try {
      const attempt = this.#attempt;
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
      this.#ended("There is no new token", `${error.message}.`, "Paste a new link or token.");
    }
  }

  #pasted(text: string): string | undefined {
    const link = readPasted(text, this.#link);
    if (link === undefined) {
      return "This is neither a link to a console nor a token.";
    }
    this.#link = link;
    this.#tries = 0;
    this.#name();
    void this.#connect(link.token);
    return undefined;
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

const link = readFragment(location.hash);
// Before anything else: the address bar, the history and screenshots shall not hold a token.
history.replaceState(null, "", withoutToken(link));

// The one that is not needed is not fetched.
async function opener(protocol: Protocol): Promise<typeof openScreen> {
  return protocol === "serial"
    ? (await import("./terminal.ts")).openTerminal
    : (await import("./screen.ts")).openScreen;
}

const page = new Page(link, (about) => {
  const peer = findPeer(window);
  const listed = document.querySelector<HTMLMetaElement>("meta[name=novasphere-embedders]")?.content ?? "";
  return peer && new Embedder(peer, window, allowedOrigins(listed, location.origin), about);
});
page.start();
