/**
 * WebKit in a page: Debian's WebKitGTK, without a window that anybody sees.
 *
 * Its driver speaks WebDriver alone. The five commands that are needed are written here: a client of
 * npm's brings a hundred packages, and drivers of other browsers.
 *
 * @module
 */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import process from "node:process";
import { answers, freePort } from "./ports.ts";

/** Milliseconds that a script of a page may take. */
const patience = 60_000;

const driver = "/usr/bin/WebKitWebDriver", display = "/usr/bin/Xvfb";
const browserOptions = {
  binary: "/usr/lib/x86_64-linux-gnu/webkit2gtk-4.1/MiniBrowser",
  args: ["--automation"],
};

/** Variables under which JavaScriptCore shares memory in pages, as it does in Safari. */
export const sharedMemory = { JSC_useSharedArrayBuffer: "1" } as const;

/** A page. */
export interface WebKitPage {
  readonly version: string;
  /** The value of an expression in the page, or of its promise. */
  evaluate<T>(expression: string): Promise<T>;
}

/** A process that ends with what needs it. */
function start(
  program: string,
  given: readonly string[],
  environment: Readonly<Record<string, string>>,
): ChildProcess & AsyncDisposable {
  const child = spawn(program, given, {
    stdio: ["ignore", "pipe", "ignore"],
    env: { ...process.env, ...environment },
  });
  const ended = once(child, "exit");
  return Object.assign(child, {
    async [Symbol.asyncDispose]() {
      child.kill();
      await ended;
    },
  });
}

/** Sends commands to a driver. */
function commands(url: string) {
  return async <T>(method: "POST" | "DELETE", path: string, body?: unknown): Promise<T> => {
    const response = await fetch(`${url}/session${path}`, {
      method,
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const { value } = await response.json();
    if (!response.ok) throw new Error(`WebKit: ${value.error}: ${value.message}`);
    return value;
  };
}

/** What a session says of itself. */
interface Session {
  readonly sessionId: string;
  readonly capabilities: { readonly browserVersion: string };
}

/** What evaluates expressions in the page of a session. */
function evaluator(
  send: ReturnType<typeof commands>,
  sessionId: string,
): WebKitPage["evaluate"] {
  return async <T>(expression: string): Promise<T> => {
    const script = `const done = arguments[0]; (async () => (${expression}))().then(
      (value) => done({ value }),
      (error) => done({ error: error + "\\n" + error.stack }),
    );`;
    const body = { script, args: [] };
    const said = await send<{ value: T; error?: string }>(
      "POST",
      `/${sessionId}/execute/async`,
      body,
    );
    if (said.error !== undefined) throw new Error(said.error);
    return said.value;
  };
}

/** Headers of isolation take a page to another process, and the driver may speak of the first. */
async function untilThere(url: string, evaluate: WebKitPage["evaluate"]): Promise<void> {
  const isThere = `location.href === "${url}" && document.readyState === "complete"`;
  for (let time = 0; time < 1000; time++) {
    if (await evaluate<boolean>(isThere)) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`WebKit does not come to ${url}`);
}

/** Opens a page, and ends the browser when `look` is done. */
export async function visitWebKit(
  url: string,
  look: (page: WebKitPage) => Promise<void>,
  environment: Readonly<Record<string, string>> = {},
): Promise<void> {
  for (const program of [driver, display]) {
    if (existsSync(program)) continue;
    throw new Error(
      `Cannot find ${program}: install it with \`apt-get install webkit2gtk-driver xvfb\``,
    );
  }
  await using screen = start(display, ["-displayfd", "1", "-nolisten", "tcp"], {});
  const [number] = await once(screen.stdout!, "data");
  const port = await freePort();
  await using _driver = start(driver, [`--port=${port}`, "--host=127.0.0.1"], {
    DISPLAY: `:${String(number).trim()}`,
    // It has no sandbox for root, as Chromium.
    WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS: "1",
    ...environment,
  });
  await answers(`http://127.0.0.1:${port}/status`);
  const send = commands(`http://127.0.0.1:${port}`);
  const { sessionId, capabilities } = await send<Session>("POST", "", {
    capabilities: {
      alwaysMatch: {
        "webkitgtk:browserOptions": browserOptions,
        timeouts: { script: patience, pageLoad: patience },
      },
    },
  });
  try {
    const evaluate = evaluator(send, sessionId);
    await send("POST", `/${sessionId}/url`, { url });
    await untilThere(url, evaluate);
    await look({ version: capabilities.browserVersion, evaluate });
  } finally {
    await send("DELETE", `/${sessionId}`);
  }
}
