import { MdstreamError } from "./errors.js";

/** Opens connections. The client's only way to the network, so that tests and workers bring their own. */
export interface Transport {
  /** Opens a WebSocket. Must call `closed` exactly once at the end, also when the connection never opened. */
  open(url: string, protocols: string[], events: TransportEvents): Connection;
}

export interface TransportEvents {
  opened(): void;
  message(data: string | ArrayBuffer): void;
  /** 1006 if no close frame came. */
  closed(code: number, reason: string): void;
}

export interface Connection {
  send(data: string | Uint8Array<ArrayBuffer>): void;
  /** Begins to close. The client listens no more. */
  close(code?: number, reason?: string): void;
}

/** What of `WebSocket` the client uses; the browser's, Node's and those of common packages have it. */
export interface WebSocketLike {
  binaryType: string;
  onopen: ((event: never) => void) | null;
  onmessage: ((event: never) => void) | null;
  onclose: ((event: never) => void) | null;
  onerror: ((event: never) => void) | null;
  send(data: string | Uint8Array<ArrayBuffer>): void;
  close(code?: number, reason?: string): void;
}

export type WebSocketConstructor = new (url: string, protocols: string[]) => WebSocketLike;

/** A transport over a `WebSocket` class. */
export function webSocketTransport(Given?: WebSocketConstructor): Transport {
  return {
    open(url, protocols, events) {
      const Socket = Given ?? (globalThis as { WebSocket?: unknown }).WebSocket;
      if (typeof Socket !== "function") {
        throw new MdstreamError("there is no WebSocket here: pass the option `WebSocket`, or use Node 22", "no_websocket");
      }
      return new SocketConnection(new (Socket as WebSocketConstructor)(url, protocols), events);
    },
  };
}

class SocketConnection implements Connection {
  readonly #socket: WebSocketLike;
  #over = false;

  constructor(socket: WebSocketLike, events: TransportEvents) {
    this.#socket = socket;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => events.opened();
    socket.onmessage = (event: { data: string | ArrayBuffer }) => events.message(event.data);
    socket.onclose = (event: { code: number; reason: string }) => this.#end(events, event.code, event.reason);
    // Browsers do not say what was wrong, and Node 20 sends no `close` after it.
    socket.onerror = () => setTimeout(() => this.#end(events, 1006, ""), 0);
  }

  send(data: string | Uint8Array<ArrayBuffer>): void {
    if (!this.#over) this.#socket.send(data);
  }

  close(code?: number, reason?: string): void {
    if (this.#over) return;
    this.#forget();
    // Only these may be given by a page; the rest is the peer's business.
    if (code === 1000 || (code !== undefined && code >= 3000)) this.#socket.close(code, reason);
    else this.#socket.close();
  }

  #end(events: TransportEvents, code: number, reason: string): void {
    if (this.#over) return;
    this.#forget();
    events.closed(code, reason);
  }

  #forget(): void {
    this.#over = true;
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.onerror = () => {};
  }
}
