/**
 * A proxy before a NATS server that loses, doubles and delays messages: what is published and what is delivered, and
 * nothing of what the protocol itself needs.
 *
 * @module
 */

import { connect, createServer, type Server, type Socket } from "node:net";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import type { Faults } from "../../tests/support/fake_network.ts";
import type { Random } from "../../tests/support/random.ts";

/** Frames with a payload: their line ends with its length. */
const withPayload = /^(?:PUB|HPUB|MSG|HMSG) /;

/** Cuts a stream into frames: a line, and the payload that it announces. */
class Frames {
  #rest = new Uint8Array();

  /** The whole frames that there are with more bytes. */
  *take(bytes: Uint8Array): Generator<{ readonly frame: Uint8Array; readonly isMessage: boolean }> {
    const all = new Uint8Array(this.#rest.length + bytes.length);
    all.set(this.#rest);
    all.set(bytes, this.#rest.length);
    let at = 0;
    for (;;) {
      const end = all.indexOf(10, at);
      if (end < 0) break;
      const line = new TextDecoder().decode(all.subarray(at, end - 1));
      const isMessage = withPayload.test(line);
      const length = isMessage ? Number(line.slice(line.lastIndexOf(" "))) + 2 : 0;
      if (end + 1 + length > all.length) break;
      yield { frame: all.subarray(at, end + 1 + length), isMessage };
      at = end + 1 + length;
    }
    this.#rest = all.slice(at);
  }
}

/** The proxy. */
export class FaultyProxy {
  faults: Faults;
  /** Messages that were lost, doubled, late. */
  readonly counts = { lost: 0, doubled: 0, late: 0 };
  readonly #random: Random;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(server: Server, faults: Faults, random: Random) {
    this.#server = server;
    this.faults = faults;
    this.#random = random;
  }

  /** Starts one before a port. */
  static async start(port: number, faults: Faults, random: Random): Promise<FaultyProxy> {
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    const proxy = new FaultyProxy(server, faults, random);
    server.on("connection", (client) => proxy.#join(client, connect(port, "127.0.0.1")));
    return proxy;
  }

  get url(): string {
    return `nats://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  end(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #join(client: Socket, server: Socket): void {
    for (const [from, to] of [[client, server], [server, client]] as const) {
      const frames = new Frames();
      this.#sockets.add(from);
      from.setNoDelay(true);
      from.on("data", (bytes: Uint8Array) => {
        for (const { frame, isMessage } of frames.take(bytes)) this.#carry(frame, isMessage, to);
      });
      from.on("close", () => {
        this.#sockets.delete(from);
        to.destroy();
      });
      from.on("error", () => to.destroy());
    }
  }

  #carry(frame: Uint8Array, isMessage: boolean, to: Socket): void {
    const { drop, double, late, milliseconds } = this.faults, copy = frame.slice();
    const send = () => void (to.destroyed || to.write(copy));
    if (!isMessage) return send();
    if (this.#random() < drop) return void this.counts.lost++;
    if (this.#random() < double) {
      this.counts.doubled++;
      send();
    }
    if (this.#random() < late) {
      this.counts.late++;
      setTimeout(send, this.#random() * milliseconds);
    } else send();
  }
}
