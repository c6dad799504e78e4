import type { Client, ClientOptions } from "./api.js";
import { DirectClient } from "./client.js";

/**
 * Connects, and stays connected: comes back after a loss, and all subscriptions with it.
 *
 * Of several URLs it tries the next one when one fails.
 */
export function connect(urls: string | readonly string[], options: ClientOptions = {}): Client {
  return new DirectClient(urls, options);
}
