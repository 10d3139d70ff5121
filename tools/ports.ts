/**
 * Servers of this machine that tests start.
 *
 * @module
 */

import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";

/** Longest wait for a server. */
const patienceMilliseconds = 30_000;

/** A port that nobody uses. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  return port;
}

/** Waits until a server answers. */
export async function answers(url: string): Promise<void> {
  const end = performance.now() + patienceMilliseconds;
  for (;;) {
    try {
      const response = await fetch(url);
      await response.text();
      return;
    } catch (error) {
      if (performance.now() > end) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}
