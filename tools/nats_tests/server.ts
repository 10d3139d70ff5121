/**
 * Debian's `nats-server` on this machine, as tests and benches start it.
 *
 * @module
 */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "../ports.ts";

const program = "/usr/sbin/nats-server";

/** Longest wait for a server, in milliseconds. */
const patience = 10_000;

/** Options of a server. */
export interface ServerOptions {
  /** More lines of its configuration: users, limits. */
  readonly config?: string;
  /** Whether it has a store of streams and objects. */
  readonly jetStream?: boolean;
  /** The address that it listens to; by default this machine's own. */
  readonly address?: string;
  /** Whether pages can reach it by WebSocket. */
  readonly webSocket?: boolean;
}

/** A server of this machine. */
export class NatsServer {
  readonly port: number;
  readonly webSocketPort: number;
  readonly #folder: string;
  #process: ChildProcess | undefined;

  private constructor(port: number, webSocketPort: number, folder: string) {
    this.port = port;
    this.webSocketPort = webSocketPort;
    this.#folder = folder;
  }

  /** Starts one. */
  static async start(options: ServerOptions = {}): Promise<NatsServer> {
    if (!existsSync(program)) {
      throw new Error(`Cannot find ${program}: install it with \`apt-get install nats-server\``);
    }
    const folder = mkdtempSync(join(tmpdir(), "flashtile-nats-"));
    const server = new NatsServer(await freePort(), await freePort(), folder);
    const { config = "", jetStream = false, webSocket = false, address = "127.0.0.1" } = options;
    const lines = [`listen: "${address}:${server.port}"`, config];
    if (jetStream) lines.push(`jetstream { store_dir: "${folder}/store" }`);
    if (webSocket) {
      lines.push(`websocket { listen: "127.0.0.1:${server.webSocketPort}", no_tls: true }`);
    }
    writeFileSync(join(folder, "server.conf"), lines.join("\n"));
    await server.begin();
    return server;
  }

  get url(): string {
    return `nats://127.0.0.1:${this.port}`;
  }

  /** Runs it, again where it was killed. */
  async begin(): Promise<void> {
    const given = ["--config", join(this.#folder, "server.conf")];
    this.#process = spawn(program, given, { stdio: "ignore" });
    const end = performance.now() + patience;
    while (!await isOpen(this.port)) {
      if (this.#process.exitCode !== null) throw new Error("nats-server ended at once");
      if (performance.now() > end) throw new Error(`Cannot reach nats-server on ${this.port}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** Kills it. */
  async kill(): Promise<void> {
    const process = this.#process;
    this.#process = undefined;
    if (process === undefined || process.exitCode !== null) return;
    process.kill("SIGKILL");
    await once(process, "exit");
  }

  async end(): Promise<void> {
    await this.kill();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

function isOpen(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    const end = (open: boolean) => {
      socket.destroy();
      resolve(open);
    };
    socket.once("connect", () => end(true));
    socket.once("error", () => end(false));
  });
}
