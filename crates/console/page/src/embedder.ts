// The page that opened or embeds this one: it can be asked for a new token. docs/console-page.md documents the messages.

import { isToken, type Protocol } from "./fragment.ts";

const NAME = "console";
const VERSION = 1;

/** How long an embedder may take to get a token: it asks its own server, which asks kube-apiserver. */
const PATIENCE_MS = 20_000;

export interface TokenAnswer {
  readonly token: string;
  readonly viewOnly: boolean | undefined;
}

export type Message =
  | ({ readonly type: "token"; readonly request: number } & TokenAnswer)
  | { readonly type: "token-refused"; readonly request: number; readonly message: string };

export type Notice =
  | { readonly type: "connected" }
  | { readonly type: "closed"; readonly code: number; readonly reason: string; readonly sentence: string }
  | { readonly type: "token-request"; readonly request: number };

/** Reads the list of origins that the gateway wrote into the page, and adds the page's own. */
export function allowedOrigins(listed: string, own: string): readonly string[] {
  return [own, ...listed.split(" ").filter((origin) => origin !== "" && origin !== own)];
}

/** Reads a message from an embedder; `undefined` when it is none of this protocol. */
export function readMessage(data: unknown): Message | undefined {
  if (typeof data !== "object" || data === null) {
    return undefined;
  }
  const { novasphere, version, type, request, token, message, input } = data as Record<string, unknown>;
  if (novasphere !== NAME || version !== VERSION || typeof request !== "number") {
    return undefined;
  }
  if (type === "token" && typeof token === "string" && isToken(token)) {
    return { type, request, token, viewOnly: input === undefined ? undefined : input === "ViewOnly" };
  }
  if (type === "token-refused") {
    return { type, request, message: typeof message === "string" ? message.slice(0, 300) : "" };
  }
  return undefined;
}

/** The part of a window that is needed of another one. */
export interface Peer {
  postMessage(message: unknown, targetOrigin: string): void;
}

/** Where messages come from. */
export interface Inbox {
  addEventListener(type: "message", listener: (event: MessageEvent) => void): void;
}

export interface About {
  readonly session: string | undefined;
  readonly protocol: Protocol;
}

/** A token that was not given. */
export class TokenRefused extends Error {
  /** What the embedder said of it, if it said anything. */
  readonly said: string | undefined;

  constructor(message: string, said?: string) {
    super(message);
    this.said = said;
  }
}

/** An embedder that did not answer: its own tab may sleep. */
export class Unanswered extends TokenRefused {}

/** An embedder in a window of its own, trusted by origin. */
export class Embedder {
  readonly #peer: Peer;
  readonly #origins: readonly string[];
  readonly #about: () => About;
  #request = 0;
  #waiting: { resolve(answer: TokenAnswer): void; reject(error: Error): void } | undefined;

  constructor(peer: Peer, inbox: Inbox, origins: readonly string[], about: () => About) {
    this.#peer = peer;
    this.#origins = origins;
    this.#about = about;
    inbox.addEventListener("message", (event) => {
      this.#receive(event);
    });
  }

  /** Tells the embedder something. No token is ever in it. */
  tell(notice: Notice): void {
    const { session, protocol } = this.#about();
    // The browser delivers it only to a window that has this origin at this moment.
    for (const origin of this.#origins) {
      this.#peer.postMessage({ novasphere: NAME, version: VERSION, session, protocol, ...notice }, origin);
    }
  }

  /** Asks for a new token. A later question takes the place of an earlier one. */
  askForToken(patience = PATIENCE_MS): Promise<TokenAnswer> {
    this.#waiting?.reject(new TokenRefused("another question took its place"));
    this.#request += 1;
    const request = this.#request;
    return new Promise<TokenAnswer>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting?.reject(new Unanswered("the page that shows this console gave no new token"));
      }, patience);
      const end = (): void => {
        clearTimeout(timer);
        this.#waiting = undefined;
      };
      this.#waiting = {
        resolve: (answer) => {
          end();
          resolve(answer);
        },
        reject: (error) => {
          end();
          reject(error);
        },
      };
      this.tell({ type: "token-request", request });
    });
  }

  #receive(event: MessageEvent): void {
    if (event.source !== (this.#peer as unknown) || !this.#origins.includes(event.origin)) {
      return;
    }
    const message = readMessage(event.data);
    if (message === undefined || message.request !== this.#request) {
      return;
    }
    if (message.type === "token") {
      this.#waiting?.resolve({ token: message.token, viewOnly: message.viewOnly });
    } else {
      this.#waiting?.reject(new TokenRefused(message.message || "no new token was given", message.message || undefined));
    }
  }
}

/** The window that embeds this one, else the one that opened it. */
export function findPeer(page: Window): Window | undefined {
  if (page.parent !== page) {
    return page.parent;
  }
  const opener: unknown = page.opener;
  return opener === null || opener === undefined ? undefined : (opener as Window);
}
