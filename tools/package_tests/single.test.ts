/**
 * The package in one script, and in realms where not everything is as usual.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { runInNewContext } from "node:vm";
import { filesOf } from "../bundle_tests.ts";
import { runtimeProgram, versions } from "../install.ts";
import { runIn } from "./child.ts";
import { makeProject } from "./project.ts";

const project = makeProject("single");
const dist = join(project, "node_modules", "flashtile", "dist");
const node = runtimeProgram("node", versions.node26);

/** Runs a program of the project; returns what it prints. */
function run(name: string, program: string, given: readonly string[] = []): string {
  writeFileSync(join(project, name), program);
  return runIn(project, [node, name, ...given]).stdout.trim();
}

test("the single scripts of the npm package load nothing, and name no module", () => {
  for (const name of ["single.js", "flashtile.single.js"]) {
    const text = readFileSync(join(dist, name), "utf8");
    assert(!/(?<!#)\bimport\s*[(."'{*]/.test(text), name);
    assert(text.includes("@compute"), `${name} lacks shaders`);
  }
});

test("scripts of the npm package import by plain strings, and have no `import.meta`", () => {
  for (const file of filesOf(dist, ".js")) {
    const text = readFileSync(file, "utf8");
    assert(!text.includes("import.meta"), file);
    for (const [whole, first] of text.matchAll(/\bimport\(\s*(.)/g)) {
      assert(first === '"' || first === "'", `${file}: ${whole}`);
    }
  }
});

test("dist/flashtile.single.js is a classic script, and gives FlashTile to all others", () => {
  const realm: { FlashTile?: object } = {};
  runInNewContext(readFileSync(join(dist, "flashtile.single.js"), "utf8"), realm);
  const names = run(
    "names.js",
    'console.log(Object.keys(await import("flashtile")).sort().join());',
  );
  assertEquals(Object.keys(realm.FlashTile!).sort().join(), names);
});

/** Prints a sum over the bits of results, after all objects were given some properties. */
const polluted = (entry: string) => `
import "node:worker_threads"; // With what some of these do to it, Node itself does not load it.
console.log; // Nor this.
const junk = {
  ...{ lse: true, causal: true, dtype: "f16", strides: [0, 0, 0], get: 1, value: 1, x: 1 },
  ...{ input: "q", source: { from: "zero" }, array: 0, table: 1, softcap: 1, bias: 1, band: 1 },
};
for (const name of process.argv.slice(2)) Object.prototype[name] = junk[name];
const { attention, attentionWithGradient, blockMask, createEngine, tensor } = await import("${entry}");
const numbers = (seed) => Float32Array.from({ length: 2 * 100 * 64 }, (_, i) => Math.sin(seed + i));
const [q, k, v, d] = [1, 2, 3, 4].map((seed) => tensor(numbers(seed), [2, 100, 64]));
let sum = 7;
const add = ({ data }) => {
  for (const bits of new Uint32Array(data.buffer)) sum = Math.imul(sum ^ bits, 16777619);
};
const full = { data: new Uint8Array(100 * 100).fill(1), shape: [100, 100] };
for (const options of [{}, { window: [10, 3], mask: full }, { causal: false }]) {
  const result = await attention(q, k, v, options);
  if (Object.hasOwn(result, "lse")) throw new Error("lse was not asked for");
  add(result.out);
}
add((await attention(q, k, v, { blockMask: blockMask.longformer({ window: 9 }, { queries: 100 }) })).out);
const functions = {
  scoreMod: (score, place) => score.sub(place.q.sub(place.k).abs().toF32().mul(0.1)).tanh(),
  maskMod: (place) => place.q.mod(3).le(place.k.mod(5)).and(place.q.ge(place.k)),
};
for (const options of [undefined, functions]) {
  const { dq, dk, dv } = await (await attentionWithGradient(q, k, v, options)).backward(d);
  [dq, dk, dv].forEach(add);
}
const engine = await createEngine({ backend: "wasm", threads: 2 });
const cache = engine.kvCache({ kvHeads: 2, headDim: 64 });
cache.append(k, v);
add((await cache.attend(q)).out);
await engine.rope(q, k, { positions: 3 });
[q, k].forEach(add);
await engine.close();
process.stdout.write(String(sum));
`;

const properties = [
  ...["x", "get", "value", "lse", "causal", "dtype", "strides"],
  ...["input", "source", "array", "table", "softcap", "bias", "band"],
];

for (const entry of ["flashtile", "flashtile/single"]) {
  test(`${entry} is right where all objects were given properties`, () => {
    const name = `polluted-${entry.replace("/", "-")}.js`, program = polluted(entry);
    const expected = run(name, program);
    for (const given of [...properties.map((property) => [property]), properties]) {
      assertEquals(run(name, program, given), expected, `with ${given}`);
    }
  });
}

/** Puts a package `webgpu` into a folder, whose adapters fail with its name. */
function installWebGpu(folder: string, name: string): void {
  const own = join(folder, "node_modules", "webgpu");
  mkdirSync(own, { recursive: true });
  writeFileSync(join(own, "package.json"), '{ "type": "module", "main": "start.js" }');
  writeFileSync(
    join(own, "start.js"),
    `export const create = () => ({ requestAdapter() { throw new Error("from ${name}"); } });\n`,
  );
}

const asking = `import { capabilities } from "flashtile";
console.log((await capabilities()).webgpu.reason);
`;

for (const command of [[node], [runtimeProgram("bun", versions.bun), "run"]]) {
  const name = command.length === 1 ? "Node" : "Bun";
  test(`${name} finds webgpu beside the package, and nothing where it was started`, () => {
    const library = makeProject(`library-${name}`), elsewhere = makeProject(`elsewhere-${name}`);
    const program = join(library, "ask.js");
    writeFileSync(program, asking);
    installWebGpu(elsewhere, "elsewhere");
    const ask = (path: string) => runIn(elsewhere, [...command, path]).stdout;
    assert(ask(program).includes("no `navigator.gpu`"), ask(program));

    // Beside the package alone: another program imports this one.
    installWebGpu(library, "library");
    const starter = join(makeProject(`starter-${name}`), "start.js");
    writeFileSync(starter, `await import(${JSON.stringify(program)});\n`);
    assert(ask(starter).includes("from library"), ask(starter));
  });
}
