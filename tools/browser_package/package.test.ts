/**
 * The tests of the npm package in browsers. Not in `tests/`: they need browsers and the sites that
 * `run.ts` makes, and are one run of `deno task test:all`.
 *
 * @module
 */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { assert, assertEquals, assertMatch } from "@std/assert";
import type { BrowserName } from "../browsers.ts";
import { isolation } from "../isolation.ts";
import { keepFinding } from "../runtime_table.ts";
import { type Headers, serveFolder } from "./server.ts";
import { readmeHeaders, serveProject, shaderMark, sitesIn } from "./sites.ts";
import { visit, type Visited } from "./visit.ts";

const { FLASHTILE_SITES } = process.env;
if (FLASHTILE_SITES === undefined) {
  throw new Error("Run these tests by `deno task test:all flashtile`");
}
const { plain, vite, project, readme } = sitesIn(FLASHTILE_SITES);
const browsers = ["Chromium", "Firefox"] as const;
const sites = { "a script tag": plain, "a page built by Vite": vite };

interface Setting {
  readonly browser: BrowserName;
  readonly folder: string;
  readonly headers?: Headers;
  /** Files that it asks for in vain. */
  readonly missed?: readonly string[];
}

/** What a visit of a served folder has seen. */
interface Seen extends Visited {
  /** Files of the site that were asked for and hold shaders. */
  shaders(): string[];
}

/** Visits a site, which must not ask for anything but its own files. */
async function visitSite(
  { browser, folder, headers = {}, missed = [] }: Setting,
  look: (seen: Seen) => Promise<void>,
): Promise<void> {
  await using server = serveFolder(folder, headers);
  await visit(browser, server.url, async (visited) => {
    await look({
      ...visited,
      shaders: () => [...new Set(server.served)].filter((path) => hasShaders(folder, path)),
    });
    assertEquals([...visited.origins], [new URL(server.url).origin]);
  });
  assertEquals([...new Set(server.missed)], missed);
}

function hasShaders(folder: string, path: string): boolean {
  return readFileSync(join(folder, path), "utf8").includes(shaderMark);
}

/** Keeps for the tables what a browser offers. */
async function note(runtime: BrowserName, { version, ask, evaluate }: Visited): Promise<void> {
  const { wasm, threads } = await ask("capabilities");
  const isolated = await evaluate<boolean>("crossOriginIsolated");
  const found = { binary: wasm.binary!, threads: threads.available, isolated };
  keepFinding({ runtime, version, group: "pages", ...found });
}

for (const browser of browsers) {
  for (const [name, folder] of Object.entries(sites)) {
    const where = `${name} in ${browser}`;

    test(`${where}: attention, gradients, a cache and threads, isolated`, async () => {
      await visitSite({ browser, folder, headers: isolation }, async (seen) => {
        const { threads, wasm } = await seen.ask("capabilities");
        assertEquals([wasm.binary, threads.available], ["relaxed", true]);
        const { backend, reason } = await seen.ask("answers", {});
        assertEquals(backend, "wasm");
        assertMatch(reason, threads.count > 1 ? /relaxed binary, \d+ threads:/ : /one thread:/);
        assertMatch(await seen.ask("worker"), /relaxed binary, 2 threads:/);
        assertEquals(seen.shaders(), []);
        assertEquals(seen.complaints, []);
        await note(browser, seen);
      });
    });

    test(`${where}: attention, gradients and a cache on one thread, not isolated`, async () => {
      await visitSite({ browser, folder }, async (seen) => {
        const { threads, wasm } = await seen.ask("capabilities");
        assertEquals([wasm.binary, threads.available], ["relaxed", false]);
        assertMatch(threads.reason, /COOP and COEP/);
        const { backend, reason } = await seen.ask("answers", {});
        assertEquals(backend, "wasm");
        assertMatch(reason, /relaxed binary, one thread:/);
        assertEquals(await seen.ask("refusal", { threads: 2 }), {
          name: "BackendUnavailableError",
          message: `Cannot use the wasm backend: it cannot have 2 threads: ${threads.reason}`,
        });
        assertEquals(seen.shaders(), []);
        assertEquals(seen.complaints, []);
        await note(browser, seen);
      });
    });
  }
}

for (const [name, folder] of Object.entries(sites)) {
  for (const browser of ["Chromium", "Firefox with WebGPU"] as const) {
    test(`${name} in ${browser}: attention, gradients and a cache on WebGPU`, async () => {
      await visitSite({ browser, folder }, async (seen) => {
        const { webgpu } = await seen.ask("capabilities");
        assert(webgpu.available, webgpu.reason);
        const { backend } = await seen.ask("answers", { backend: "webgpu" });
        assertEquals(backend, "webgpu");
        assertEquals(seen.shaders().length, 1);
        assertEquals(seen.complaints, []);
      });
    });
  }

  test(`${name} in Firefox: no WebGPU, and why`, async () => {
    await visitSite({ browser: "Firefox", folder }, async (seen) => {
      const { webgpu, backend } = await seen.ask("capabilities");
      assertEquals([webgpu.available, backend], [false, "wasm"]);
      assertEquals(await seen.ask("refusal", { backend: "webgpu" }), {
        name: "BackendUnavailableError",
        message: `Cannot use the webgpu backend: ${webgpu.reason}`,
      });
      assertEquals(seen.complaints, []);
    });
  });
}

test("the README's page attends in Chromium, isolated by the README's headers", async () => {
  await using server = serveFolder(readme, readmeHeaders());
  await visit("Chromium", server.url, async ({ evaluate }) => {
    const said = `new Promise((resolve) => {
      const look = () => document.body.textContent.includes("attended")
        ? resolve(document.body.textContent.trim()) : setTimeout(look, 10);
      look();
    })`;
    assertEquals(await evaluate(said), "attended: 8,1024,64");
    assert(await evaluate("crossOriginIsolated"));
    assertMatch(await evaluate("FlashTile.createEngine().then(({ reason }) => reason)"), /threads/);
  });
});

test("Vite's development server in Chromium: attention, gradients, a cache and threads", async () => {
  await using server = await serveProject(project);
  await visit("Chromium", server.url, async (seen) => {
    await seen.ask("answers", {});
    assertMatch(await seen.ask("worker"), /2 threads:/);
    const url = await seen.evaluate<string>("workerUrl");
    assertMatch(await seen.ask("worker", url), /2 threads:/);
    assertEquals([...seen.origins], [new URL(server.url).origin]);
    assertEquals(seen.complaints, []);
  });
});

/** Policies under which no worker can begin, refused later or at once, and what a call then says. */
const policies = {
  "a policy without blob: workers": {
    policy: "script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'",
    words: /the Content-Security-Policy must allow `worker-src blob:`/,
  },
  "a policy of trusted types": { policy: "require-trusted-types-for 'script'", words: /Worker/ },
};

/** What may be at an address instead, and what a call then says. */
const wrongAddresses = {
  "no file": { path: "/nowhere.js", words: /`flashtile\/worker.js`/ },
  "a page": { path: "/index.html", words: /`flashtile\/worker.js`/ },
  "another version": { path: "/flashtile/older.js", words: /another version of FlashTile/ },
};

for (const browser of browsers) {
  test(`a script tag in ${browser} under a policy without Wasm is told what to allow`, async () => {
    const headers = { "Content-Security-Policy": "script-src 'self'" };
    await visitSite({ browser, folder: plain, headers }, async (seen) => {
      const { wasm } = await seen.ask("capabilities");
      assertEquals([wasm.available, wasm.binary], [false, null]);
      assertEquals(await seen.ask("refusal", { backend: "wasm" }), {
        name: "BackendUnavailableError",
        message: wasm.reason,
      });
      assertMatch(
        wasm.reason,
        /Content-Security-Policy must allow `script-src 'wasm-unsafe-eval'`/,
      );
    });
  });

  for (const [name, { policy, words }] of Object.entries(policies)) {
    test(`a script tag in ${browser} under ${name}: the page's thread does the work`, async () => {
      const headers = { ...isolation, "Content-Security-Policy": policy };
      await visitSite({ browser, folder: plain, headers }, async (seen) => {
        const { threads } = await seen.ask("capabilities");
        assert(threads.available);
        const { started, reason } = await seen.ask("calls", { threads: 2 });
        // What was refused once is not tried again, call after call.
        assertEquals(started, 1);
        const alone = /^relaxed binary, one thread \(no worker can begin: .*`workerUrl`\)/;
        assertMatch(reason, alone);
        assertMatch(reason, words);
        if (threads.count > 1) assertMatch((await seen.ask("calls", {})).reason, alone);
      });
    });
  }

  for (const [name, folder] of Object.entries(sites)) {
    test(`${name} in ${browser} under a policy without blob: workers, by workerUrl: threads`, async () => {
      const { policy } = policies["a policy without blob: workers"];
      const headers = { ...isolation, "Content-Security-Policy": policy };
      await visitSite({ browser, folder, headers }, async (seen) => {
        const url = await seen.evaluate<string>("workerUrl");
        for (const as of ["string", "url"] as const) {
          assertMatch(await seen.ask("worker", url, as), /relaxed binary, 2 threads:/);
        }
        assertEquals(seen.complaints, []);
      });
    });
  }

  test(`a script tag in ${browser} under a policy of trusted types, by workerUrl: threads`, async () => {
    const { policy } = policies["a policy of trusted types"];
    const headers = { ...isolation, "Content-Security-Policy": policy };
    await visitSite({ browser, folder: plain, headers }, async (seen) => {
      const url = await seen.evaluate<string>("workerUrl");
      assertMatch(await seen.ask("worker", url, "trusted"), /relaxed binary, 2 threads:/);
      assertEquals(seen.complaints, []);
    });
  });

  test(`a script tag in ${browser}: a workerUrl that serves something else is said to be wrong`, async () => {
    const missed = [wrongAddresses["no file"].path];
    await visitSite({ browser, folder: plain, headers: isolation, missed }, async (seen) => {
      for (const [what, { path, words }] of Object.entries(wrongAddresses)) {
        const { started, reason } = await seen.ask("calls", { threads: 2, workerUrl: path });
        assertEquals(started, 1, what);
        assertMatch(
          reason,
          /^relaxed binary, one thread \(no worker can begin: .*`workerUrl` must/,
        );
        assertMatch(reason, words);
      }
    });
  });
}

/** Whether V8 can widen here. */
const hasAvx2 = process.arch === "x64" && /\bavx2\b/.test(readFileSync("/proc/cpuinfo", "utf8"));

/** In the page: why engines are wide or narrow, and whether their results are the same bits. */
const wideProgram = `(async () => {
  await import("/flashtile/wide.js");
  const { createEngine, tensor } = await import("/flashtile/flashtile.js");
  const x = tensor(Float32Array.from({ length: 2 * 200 * 64 }, (_, at) => Math.sin(at * at)), [2, 200, 64]);
  const reasons = [], results = [];
  for (const wide of [undefined, true, false]) {
    const engine = await createEngine({ backend: "wasm", threads: 1, wide });
    // Long enough for V8's best code.
    for (let time = 0; time < 50; time++) await engine.attention(x, x, x);
    const { data } = (await engine.attention(x, x, x)).out;
    reasons.push(engine.reason);
    results.push(String(new Uint32Array(data.buffer, data.byteOffset, data.length)));
    await engine.close();
  }
  return { reasons, areSame: new Set(results).size === 1 };
})()`;

interface Widened {
  readonly reasons: readonly string[];
  readonly areSame: boolean;
}

test("flashtile/wide in Chromium with V8's flag: wide where it is asked for, the same bits", async () => {
  const browser = "Chromium with --wasm-revectorize";
  // A race that is lost since a busy machine keeps V8 from making its best code is run anew in a page that is.
  for (let time = 0; time < 5; time++) {
    let isWide = false;
    await visitSite({ browser, folder: plain }, async (seen) => {
      const { reasons, areSame } = await seen.evaluate<Widened>(wideProgram);
      assert(areSame);
      assertMatch(reasons[0], /; not wide: only Node lets programs ask V8 for it$/);
      assertMatch(reasons[2], /relaxed multiply-add$/);
      isWide = /; wide: V8 joins vectors to 256 bits$/.test(reasons[1]);
      assert(isWide || /; not wide: vectors of 256 bits are no faster$/.test(reasons[1]));
      assertEquals(seen.complaints, []);
    });
    if (isWide || !hasAvx2) return;
  }
  assert(false, "Chromium joins no vectors");
});
