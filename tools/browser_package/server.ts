/**
 * Serves a folder to browsers of this machine, and remembers what they asked for.
 *
 * @module
 */

import { readFile } from "node:fs/promises";
import { extname, join } from "node:path";

/** Headers of every answer. */
export type Headers = Readonly<Record<string, string>>;

const types: Readonly<Record<string, string>> = {
  ".css": "text/css; charset=utf-8",
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".svg": "image/svg+xml",
};

/** A folder that is served. */
export interface ServedFolder extends AsyncDisposable {
  readonly url: string;
  /** Paths of files that were asked for, in order. */
  readonly served: readonly string[];
  /** Those of files that there are not. */
  readonly missed: readonly string[];
}

/** Serves a folder at any free port. */
export function serveFolder(folder: string, headers: Headers): ServedFolder {
  const served: string[] = [], missed: string[] = [];
  const answer = async ({ url }: Request) => {
    const { pathname } = new URL(url), path = pathname === "/" ? "/index.html" : pathname;
    // An address has no `..` left: nothing outside of the folder can be asked for.
    const file = await readFile(join(folder, path)).catch(() => undefined);
    (file === undefined ? missed : served).push(path);
    if (file === undefined) return new Response("Not found", { status: 404, headers });
    return new Response(new Uint8Array(file), {
      headers: { ...headers, "Content-Type": types[extname(path)] ?? "application/octet-stream" },
    });
  };
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, answer);
  return {
    // Pages of this machine are secure contexts without https, which WebGPU and shared memory need.
    url: `http://127.0.0.1:${server.addr.port}/`,
    served,
    missed,
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}
