/**
 * Bundles a page of an example and serves it on this machine.
 *
 * @module
 */

import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";

/** A page: its folder has `main.ts`, `index.html` and `style.css`. */
export interface Page {
  /** The folder, as `new URL(".", import.meta.url)` gives it. */
  readonly folder: URL;
  /** Further files that it reads as text, by their names alone; nothing else is served. */
  readonly texts?: readonly string[];
}

/** A page that is served. */
export interface Served extends AsyncDisposable {
  readonly url: string;
}

/** So that memory can be shared, which threads need. */
const isolation = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
};

interface File {
  readonly name: string;
  readonly type: string;
}

/** What is served, by its path. */
function filesOf({ texts = [] }: Page): Readonly<Record<string, File>> {
  const type = "text/plain; charset=utf-8";
  const text = (name: string) => [`/${basename(name)}`, { name, type }];
  return {
    "/": { name: "index.html", type: "text/html; charset=utf-8" },
    "/style.css": { name: "style.css", type: "text/css; charset=utf-8" },
    ...Object.fromEntries(texts.map(text)),
  };
}

/** The page's script with all that it imports; where it is looked into, with a map of its source. */
function bundle({ folder }: Page, flags: readonly string[] = ["--sourcemap=inline"]): string {
  const pathOf = (name: string, base: URL | string) => fileURLToPath(new URL(name, base));
  const { success, stdout, stderr } = new Deno.Command(Deno.execPath(), {
    args: [
      ...["bundle", "--quiet", `--lock=${pathOf("../tools/deno.lock", import.meta.url)}`],
      ...["--platform", "browser", ...flags, pathOf("main.ts", folder)],
    ],
    cwd: folder,
  }).outputSync();
  const textOf = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  if (!success) throw new Error(`Cannot bundle the page:\n${textOf(stderr)}`);
  return textOf(stdout);
}

/** Writes the page into a folder that is there, for whoever serves files. */
export function writePage(page: Page, folder: string): void {
  Deno.writeTextFileSync(join(folder, "main.js"), bundle(page, ["--minify"]));
  for (const [path, { name }] of Object.entries(filesOf(page))) {
    const text = Deno.readTextFileSync(new URL(name, page.folder));
    Deno.writeTextFileSync(join(folder, path === "/" ? "index.html" : path), text);
  }
}

/** Bundles the page as it is now and serves it; port 0 is any free one. */
export function servePage(page: Page, port: number): Served {
  const script = bundle(page), files = filesOf(page);
  const answer = async (request: Request): Promise<Response> => {
    const { pathname } = new URL(request.url);
    if (pathname === "/main.js") {
      return new Response(script, { headers: { ...isolation, "Content-Type": "text/javascript" } });
    }
    if (!Object.hasOwn(files, pathname)) return new Response("Not found", { status: 404 });
    const { name, type } = files[pathname];
    return new Response(await Deno.readFile(new URL(name, page.folder)), {
      headers: { ...isolation, "Content-Type": type },
    });
  };
  const server = Deno.serve({ hostname: "127.0.0.1", port, onListen() {} }, answer);
  // Pages of this machine are secure contexts without https, which WebGPU and shared memory need.
  const url = `http://127.0.0.1:${server.addr.port}/`;
  return { url, [Symbol.asyncDispose]: () => server.shutdown() };
}

/** Why a page is not served, and what to do. */
export function adviceFor(error: unknown): string {
  const taken = error instanceof Deno.errors.AddrInUse;
  const advice = taken ? "; another program has this port, take another with --port" : "";
  return `${(error as Error).message}${advice}`;
}
