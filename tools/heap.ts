/**
 * What an isolate holds, asked by its inspector: what hosts of workers limit.
 *
 * @module
 */

/** Bytes of an isolate. */
export interface Heap {
  /** Objects. */
  readonly objects: number;
  /** What arrays are made of; workerd does not count linear memory. */
  readonly buffers: number;
}

/** What `Runtime.getHeapUsage` of the Chrome DevTools Protocol answers, as far as it is used. */
interface Usage {
  readonly usedSize: number;
  readonly backingStorageSize: number;
}

/** Milliseconds that an answer may take. */
const patience = 30_000;

/** How often, in milliseconds, and how many times it is looked whether garbage is gone. */
const interval = 250, looks = 12;

/** An isolate under inspection. */
export class Inspected implements Disposable {
  readonly #socket: WebSocket;
  #sent = 0;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
  }

  /** Begins an inspection; there can be one at a time. */
  static async begin(url: string): Promise<Inspected> {
    const socket = new WebSocket(url);
    await next(socket, "open");
    return new Inspected(socket);
  }

  /** What the isolate holds now, with what nobody refers to any more. */
  async read(): Promise<Heap> {
    const { usedSize, backingStorageSize } = await this.#ask<Usage>("Runtime.getHeapUsage");
    return { objects: usedSize, buffers: backingStorageSize };
  }

  /**
   * What it holds without that: workerd collects when it is asked to, some time later, and only a worker
   * that is used.
   *
   * @param use Uses it.
   */
  async readCollected(use: () => Promise<unknown>): Promise<Heap> {
    let least = await this.read();
    for (let look = 0; look < looks; look++) {
      this.#send("HeapProfiler.collectGarbage"); // Is never answered.
      await use();
      await new Promise((resolve) => setTimeout(resolve, interval));
      const found = await this.read();
      if (sizeOf(found) < sizeOf(least)) least = found;
    }
    return least;
  }

  [Symbol.dispose](): void {
    this.#socket.close();
  }

  /** Sends a command; returns its number. */
  #send(method: string): number {
    this.#socket.send(JSON.stringify({ id: ++this.#sent, method, params: {} }));
    return this.#sent;
  }

  async #ask<Answer>(method: string): Promise<Answer> {
    const wanted = this.#send(method);
    for (;;) {
      const { data } = await next(this.#socket, "message") as MessageEvent<string>;
      const answer = JSON.parse(data);
      if (answer.id !== wanted) continue; // An event.
      if (answer.error === undefined) return answer.result;
      throw new Error(`Cannot inspect the worker: ${answer.error.message}`);
    }
  }
}

/** All bytes of an isolate. */
export function sizeOf({ objects, buffers }: Heap): number {
  return objects + buffers;
}

function next(socket: WebSocket, event: "open" | "message"): Promise<Event> {
  return new Promise((resolve, reject) => {
    const fail = (why: string) => () => reject(new Error(`Cannot inspect the worker: ${why}`));
    const timer = setTimeout(fail(`no ${event}`), patience);
    const failed = fail("the connection failed");
    socket.addEventListener("error", failed, { once: true });
    socket.addEventListener(event, (found) => {
      clearTimeout(timer);
      socket.removeEventListener("error", failed);
      resolve(found);
    }, { once: true });
  });
}
