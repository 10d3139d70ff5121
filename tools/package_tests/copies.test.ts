/**
 * Two copies of the library in one program, as bundlers and package managers make them.
 *
 * @module
 */

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { runtimeProgram, versions } from "../install.ts";
import { runIn } from "./child.ts";
import { makeProject } from "./project.ts";

const project = makeProject("copies");
const program = `
import assert from "node:assert";
import * as here from "flashtile";
import * as there from "./node_modules/flashtile/dist/flashtile.min.js";

assert(here.attention !== there.attention);
const x = here.tensor(Float32Array.from({ length: 64 * 8 }, (_, at) => Math.sin(at)), [64, 8]);
const size = { queries: 64, block: 16 };
const mask = here.blockMask.causal(size), band = there.blockMask.window([20, null], size);
const expected = await here.attention(x, x, x, { blockMask: mask });
const got = await there.attention(x, x, x, { blockMask: mask });
assert.deepStrictEqual(got.out.data, expected.out.data);
assert.strictEqual(String(mask.and(band)), String(band.and(mask)));

const engine = await there.createEngine({ backend: "wasm", threads: 1 });
const cache = engine.kvCache({ batch: 1, kvHeads: 1, headDim: 8 });
const rows = { data: x.data, shape: [1, 1, 64, 8] };
cache.append(rows, rows);
const attended = await here.attention(rows, cache, { causal: true });
assert.deepStrictEqual(attended.out.data, (await cache.attend(rows, { causal: true })).out.data);
const own = await here.createEngine({ backend: "wasm", threads: 1 });
await assert.rejects(
  own.cascadeAttention(rows, cache, { k: rows, v: rows }),
  /\`prefix\` is a cache of another copy of the library/,
);
// Tensors of the other's memory are arrays as any.
const t = engine.tensor([64, 8]);
t.data.set(x.data);
assert.deepStrictEqual((await here.attention(t, t, t)).out.data, (await here.attention(x, x, x)).out.data);
await engine.close();
await own.close();
`;

test("masks and caches of another copy of the library are used", () => {
  writeFileSync(join(project, "copies.js"), program);
  runIn(project, [runtimeProgram("node", versions.node20), "copies.js"]);
});
