import { createServer } from "node:http";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { varyingSeed } from "../../tests/support/seed.ts";
import { assertTold, expectedUntil } from "../../tests/support/sharded_tokens.ts";
import { withBrowser } from "../browsers.ts";
import { bundlePage, filesOf } from "../bundle_tests.ts";
import { HostProcess } from "./hosts.ts";
import { NatsServer } from "./server.ts";

const until = 40;

/** Serves a page with a script. */
async function serve(script: string) {
  const server = createServer((request, response) => {
    const isScript = request.url === "/page.js", type = isScript ? "text/javascript" : "text/html";
    response.setHeader("content-type", type);
    response.end(
      isScript ? script : '<!doctype html><script type="module" src="page.js"></script>',
    );
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}/`, close: () => server.close() };
}

test("a page of Chromium is a coordinator, by WebSocket", async () => {
  const folder = mkdtempSync(join(tmpdir(), "flashtile-nats-")), seed = varyingSeed();
  const bundled = bundlePage(join(folder, "page"), "tools/nats_tests/page.ts");
  const page = await serve(readFileSync(filesOf(bundled, ".js")[0], "utf8"));
  const server = await NatsServer.start({ webSocket: true });
  const hosts: HostProcess[] = [];
  try {
    for (const group of [0, 1]) {
      const options = { servers: server.url, prefix: "t.cache", group, name: `h${group}` };
      hosts.push(await HostProcess.start("Deno", options));
    }
    await withBrowser("Chromium", async (browser) => {
      const tab = await browser.newPage();
      await tab.goto(page.url);
      await tab.waitForFunction("globalThis.generate");
      const url = `ws://127.0.0.1:${server.webSocketPort}`;
      const call = `generate(${JSON.stringify(url)}, 2, ${seed}, ${until})`;
      const told = await tab.evaluate(call) as [string, number[]][];
      const rows = new Map(told.map(([key, row]) => [key, Float32Array.from(row)]));
      assertTold(rows, await expectedUntil(seed, until));
    });
  } finally {
    await Promise.all(hosts.map((host) => host.kill()));
    await server.end();
    page.close();
    rmSync(folder, { recursive: true });
  }
});
