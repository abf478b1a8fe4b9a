// When a console is there that may be silent.
//
// The gateway opens the WebSocket before it has reached the machine, and a serial line may say nothing for ever. So a console is
// there when something comes of it, when the gateway answers a question about it that only a good token or an open stream has an
// answer to, or when the line has outlived what a gateway allows a viewer before his stream is open.

/** More than `console.limits.handshakeTimeout` of the gateway, 15 s (docs/configuration.md). */
const OUTLIVED_MS = 20_000;

export class Arrival {
  readonly #tell: () => void;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isLineOpen = false;
  #over = false;

  /** `tell` is called once, unless the line closes before. */
  constructor(tell: () => void) {
    this.#tell = tell;
  }

  /** The WebSocket is open. */
  lineOpened(): void {
    this.#isLineOpen = true;
    this.#timer = setTimeout(() => {
      this.seen();
    }, OUTLIVED_MS);
  }

  /** The machine has sent something, or the gateway has said that it runs. */
  seen(): void {
    if (!this.#isLineOpen || this.#over) {
      return;
    }
    this.end();
    this.#tell();
  }

  /** The line is closed, or nobody waits for it any more. */
  end(): void {
    this.#over = true;
    clearTimeout(this.#timer);
  }
}
