/**
 * `deno task browser`: bundles the page and serves it on this machine.
 *
 * @module
 */

import { spawnSync } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { portOf } from "../port.ts";

/** So that memory can be shared, which threads need. */
const isolation = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
};

/** Nothing else of the folder is served. */
const files: Readonly<Record<string, { readonly name: string; readonly type: string }>> = {
  "/": { name: "index.html", type: "text/html; charset=utf-8" },
  "/style.css": { name: "style.css", type: "text/css; charset=utf-8" },
};

function pathOf(name: string): string {
  return fileURLToPath(new URL(name, import.meta.url));
}

/** The page's script with all that it imports. */
function bundle(): string {
  const { status, stdout, stderr } = spawnSync(process.execPath, [
    ...["bundle", "--quiet", `--lock=${pathOf("../../tools/deno.lock")}`],
    ...["--platform", "browser", "--sourcemap=inline", pathOf("main.ts")],
  ], { encoding: "utf8", maxBuffer: 2 ** 26, cwd: pathOf(".") });
  if (status !== 0) throw new Error(`Cannot bundle the page:\n${stderr}`);
  return stdout;
}

async function answer(request: Request, script: string): Promise<Response> {
  const { pathname } = new URL(request.url);
  if (pathname === "/main.js") {
    return new Response(script, { headers: { ...isolation, "Content-Type": "text/javascript" } });
  }
  if (!Object.hasOwn(files, pathname)) return new Response("Not found", { status: 404 });
  const { name, type } = files[pathname];
  return new Response(await Deno.readFile(pathOf(name)), {
    headers: { ...isolation, "Content-Type": type },
  });
}

/** A page that is served. */
export interface Served extends AsyncDisposable {
  readonly url: string;
}

/** Bundles the page as it is now and serves it; port 0 is any free one. */
export function serve(port: number): Served {
  const script = bundle();
  const server = Deno.serve(
    { hostname: "127.0.0.1", port, onListen() {} },
    (request) => answer(request, script),
  );
  // Pages of this machine are secure contexts without https, which WebGPU and shared memory need.
  const url = `http://127.0.0.1:${server.addr.port}/`;
  return { url, [Symbol.asyncDispose]: () => server.shutdown() };
}

if (import.meta.main) {
  try {
    console.log(
      `The page is at ${serve(portOf(process.argv.slice(2), 8765)).url} (end with Ctrl+C)`,
    );
  } catch (error) {
    const taken = error instanceof Deno.errors.AddrInUse;
    const advice = taken ? "; another program has this port, take another with --port" : "";
    console.error(`error: ${(error as Error).message}${advice}`);
    process.exitCode = 1;
  }
}
