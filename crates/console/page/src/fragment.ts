// What a link to this page says. It says it in the fragment, which browsers send to no server.

export type Protocol = "vnc" | "serial" | "ssh";

function isProtocol(text: string | null): text is Protocol {
  return text === "vnc" || text === "serial" || text === "ssh";
}

export interface Link {
  /** Absent when the page was loaded again: a token is removed from the address bar as soon as it is read. */
  readonly token: string | undefined;
  readonly protocol: Protocol;
  /** `namespace/name` of the session, for people and to come back to it. */
  readonly session: string | undefined;
  /** The link says that keys and pointer will not reach the machine. The gateway decides, not this. */
  readonly viewOnly: boolean;
}

/** 256 bits in base64url, as crates/console/src/token.rs makes them. */
const TOKEN = /^[A-Za-z0-9_-]{43}$/;
/** Names of Kubernetes: what else stands here is not shown to anybody. */
const SESSION = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\/[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/;

export function isToken(text: string): boolean {
  return TOKEN.test(text);
}

/** Reads a fragment, with or without its `#`. What is malformed counts as absent. */
export function readFragment(fragment: string): Link {
  const values = new URLSearchParams(fragment.replace(/^#/, ""));
  const token = values.get("token");
  const session = values.get("session");
  const protocol = values.get("protocol");
  return {
    token: token !== null && isToken(token) ? token : undefined,
    protocol: isProtocol(protocol) ? protocol : "vnc",
    session: session !== null && SESSION.test(session) ? session : undefined,
    viewOnly: values.get("input") === "ViewOnly",
  };
}

/** The same fragment without its token, with `#`. */
export function withoutToken(link: Link): string {
  const parts = [`protocol=${link.protocol}`];
  if (link.session !== undefined) {
    parts.push(`session=${link.session}`);
  }
  if (link.viewOnly) {
    parts.push("input=ViewOnly");
  }
  return `#${parts.join("&")}`;
}

/** Takes what a person pasted: a whole link to this page, its fragment, or a bare token for the console of `before`. */
export function readPasted(text: string, before: Link): (Link & { readonly token: string }) | undefined {
  const trimmed = text.trim();
  if (isToken(trimmed)) {
    return { ...before, token: trimmed };
  }
  const at = trimmed.indexOf("#");
  const link = readFragment(at < 0 ? trimmed : trimmed.slice(at + 1));
  return link.token === undefined ? undefined : { ...link, token: link.token };
}

/** What the gateway serves beside the page, which is at `<base>/console/`. */
function beside(page: string, name: string): URL {
  const url = new URL(`../api/v1/console/${name}`, page);
  url.search = "";
  url.hash = "";
  return url;
}

/** The path of what belongs to a session, at which alone its browser can come back; without a session that of all. */
function of(session: string | undefined, name: string): string {
  return session === undefined ? name : `sessions/${session}/${name}`;
}

/** The WebSocket. */
export function webSocketUrl(page: string, session?: string): string {
  const url = beside(page, of(session, "ws"));
  url.protocol = url.protocol === "http:" ? "ws:" : "wss:";
  return url.href;
}

/** Where to ask how the target is. */
export function targetUrl(page: string, session?: string): string {
  return beside(page, of(session, "target")).href;
}
