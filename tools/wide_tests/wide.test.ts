/**
 * The subpath `wide` on Node, which reads the sources as they are: what V8 makes of the kernels, and what programs are
 * told.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import process from "node:process";
import { test } from "node:test";
import { runtimeProgram, versions } from "../install.ts";
import { root } from "../test_runs.ts";

const node = runtimeProgram("node", versions.node26);

/** Whether V8 can widen here. */
const isWidened = process.arch === "x64" && /\bavx2\b/.test(readFileSync("/proc/cpuinfo", "utf8"));

const needsAvx2 = isWidened ? {} : { skip: "this processor has no AVX2" };

/** A program in TypeScript's modules, run from the root. */
function run(flags: readonly string[], program: string, executable = node) {
  const text = program.replaceAll('"flashtile/wide"', '"./src/wide/mod.ts"')
    .replaceAll('"flashtile"', '"./mod.ts"');
  const { status, stdout, stderr } = spawnSync(executable, [
    ...flags,
    ...["--input-type=module", "--eval", text],
  ], { cwd: root, encoding: "utf8", timeout: 120_000, maxBuffer: 2 ** 28 });
  return { status, stdout, stderr };
}

function printed(flags: readonly string[], program: string): string {
  const { status, stdout, stderr } = run(flags, program);
  assertEquals([status, stderr], [0, ""], `${stdout}${stderr}`);
  return stdout;
}

const inputs = `
  const x = tensor(Float32Array.from({ length: 2 * 64 * 32 }, (_, at) => Math.sin(at)), [2, 64, 32]);
`;

/** Of each function that V8 has widened, how many multiply-adds of eight lanes there are. */
function joinedProducts(trace: string): number[] {
  return trace.split("Begin revec function").slice(1)
    .filter((part) => part.includes("Decided to vectorize"))
    .map((part) => new Set(part.match(/Print \d+: Simd128Ternary\[F32x4Qfma\]\(.*\)/g)).size);
}

test("V8 joins the products, powers and gradients of wide kernels", needsAvx2, () => {
  const trace = printed(
    ["--no-liftoff", "--trace-wasm-revectorize"],
    `import "flashtile/wide";
     import { createEngine, tensor } from "flashtile";
     ${inputs}
     const engine = await createEngine({ backend: "wasm", threads: 1 });
     const { out, backward } = await engine.attentionWithGradient(x, x, x);
     await backward(out);
     await engine.close();`,
  );
  const joined = joinedProducts(trace).sort((a, b) => a - b);
  // Sums of tiles: 4x16 and 8x8, 6x16; values have as many again that rescale what there was. Powers and gradients
  // have polynomials of degree 6 of four keys, and what follows.
  for (const most of [8, 12, 16, 24, 25]) {
    assert(joined.includes(most), `${most} multiply-adds of ${joined}`);
  }
});

test(
  "V8 joins the sums of bytes of decoding where they are neighbours, and no others",
  needsAvx2,
  () => {
    const trace = printed(
      ["--no-liftoff", "--trace-wasm-revectorize"],
      `import "flashtile/wide";
     import { createEngine, tensor } from "flashtile";
     ${inputs}
     const engine = await createEngine({ backend: "wasm", threads: 1 });
     const cache = engine.kvCache({ batch: 1, kvHeads: 2, headDim: 32, dtype: "int8" });
     const tokens = { ...x, shape: [1, 2, 64, 32] };
     cache.append(tokens, tokens);
     await cache.attend({ data: x.data.slice(0, 64), shape: [1, 2, 1, 32] });
     await engine.close();`,
    );
    const sums = trace.split("Begin revec function").slice(1)
      .filter((part) => part.includes("PackNode Simd128Binop[I32x4DotI16x8S]"));
    // Of scores, and of values.
    assertEquals(sums.length, 2);
    for (const part of sums) {
      assert(part.includes("Decided to vectorize"));
      // What is no neighbour takes longer to bring together than it saves.
      assert(!part.includes("NewForcePackNode 423"), part);
      assertEquals(part.match(/: PackNode Simd128Binop\[I32x4DotI16x8S\]/g)?.length, 2);
    }
  },
);

for (const dtype of ["f32", "bf16"]) {
  test(`V8 joins the sums of decoding in ${dtype}, of scores and of values`, needsAvx2, () => {
    const trace = printed(
      ["--no-liftoff", "--trace-wasm-revectorize"],
      `import "flashtile/wide";
       import { createEngine, tensor } from "flashtile";
       ${inputs}
       const engine = await createEngine({ backend: "wasm", threads: 1 });
       const cache = engine.kvCache({ batch: 1, kvHeads: 2, headDim: 32, dtype: "${dtype}" });
       const tokens = { ...x, shape: [1, 2, 64, 32] };
       cache.append(tokens, tokens);
       await cache.attend({ data: x.data.slice(0, 64), shape: [1, 2, 1, 32] });
       await engine.close();`,
    );
    // Eight sums are four; the narrow shape that is raced has four as well.
    assertEquals(joinedProducts(trace).filter((joined) => joined === 4).length, 3);
  });
}

test("V8 compiles every function of every program, widened", () => {
  // Where it cannot join what it has begun to join, V8 ends the process.
  const sources = [
    "wasm/binary/binaries",
    "wasm/binary/rows",
    "wasm/binary/linear",
    "wasm/binary/nn",
    "wasm/binary/integer",
    "wide/binary",
  ];
  const told = printed(
    ["--no-liftoff", "--no-wasm-lazy-compilation", "--experimental-wasm-revectorize"],
    `import { unpack } from "./src/wasm/binary/module.ts";
     for (const name of ${JSON.stringify(sources)}) {
       const module = new WebAssembly.Module(unpack(await import(\`./src/\${name}.gen.ts\`), "relaxed"));
       console.log(name);
     }`,
  );
  assertEquals(told.trimEnd().split("\n"), sources);
});

const program = `
  import { createEngine } from "flashtile";
  import "flashtile/wide";
  for (const wide of [undefined, true, false]) {
    const engine = await createEngine({ backend: "wasm", threads: 2, wide });
    console.log(engine.reason);
    await engine.close();
  }`;

const reason = "relaxed binary, 2 threads: this engine fuses relaxed multiply-add";

test("engines are wide in Node once `wide` is imported, and say so", needsAvx2, () => {
  const reasons = printed([], program).trimEnd().split("\n");
  const wide = `${reason}; wide: V8 joins vectors to 256 bits`;
  assertEquals(reasons, [wide, wide, reason]);
});

test("engines stay narrow where V8 joins nothing, and say so", () => {
  const reasons = printed(["--no-enable-avx2"], program).trimEnd().split("\n");
  const narrow = `${reason}; not wide: vectors of 256 bits are no faster`;
  assertEquals(reasons, [narrow, narrow, reason]);
});

test("`wide: true` without the import is an error that says so", () => {
  const guarded = run([], program.replace('import "flashtile/wide";', ""));
  assertEquals(guarded.status, 1);
  assert(
    guarded.stderr.includes("`wide` needs the subpath of that name, imported before"),
    guarded.stderr,
  );
});

test("importing `wide` when a binary is compiled is an error that says so", () => {
  const { status, stderr } = run(
    [],
    `import { createEngine } from "flashtile";
     await (await createEngine({ backend: "wasm" })).close();
     await import("flashtile/wide");`,
  );
  assertEquals(status, 1);
  assert(stderr.includes("Cannot widen: a binary is compiled already"), stderr);
});

test("results of wide engines on threads are those of narrow ones", () => {
  const told = printed(
    [],
    `import "flashtile/wide";
     import { attention, createEngine, softmax, tensor } from "flashtile";
     const data = Float32Array.from({ length: 8 * 300 * 64 }, (_, at) => Math.sin(at * at));
     const x = tensor(data, [8, 300, 64]), results = [];
     for (const wide of [undefined, false]) {
       const engine = await createEngine({ backend: "wasm", threads: 2, wide });
       const all = [];
       // Long enough for V8's best code.
       for (let time = 0; time < 30; time++) all.push((await engine.attention(x, x, x, { causal: true })).out);
       all.push((await engine.attention(x, x, x, { precision: "int16" })).out);
       all.push((await softmax(x, { engine })).out);
       results.push(all.map(({ data }) => Array.from(new Uint32Array(data.buffer, data.byteOffset, data.length))));
       await engine.close();
     }
     console.log(JSON.stringify(results[0]) === JSON.stringify(results[1]));
     await attention(x, x, x);`,
  );
  assertEquals(told, "true\n");
});

test("importing `wide` on Deno changes and prints nothing", () => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [
    ...["eval", "--no-lock", "--ext=ts"],
    `import { createEngine } from "./mod.ts"; import "./src/wide/mod.ts";
     const engine = await createEngine({ backend: "wasm", threads: 1 });
     console.log(engine.reason); await engine.close();`,
  ], { cwd: root, encoding: "utf8", env: { ...process.env, NO_COLOR: "1" } });
  assertEquals([status, stderr], [0, ""]);
  const reason = "not wide: only Node lets programs ask V8 for it\n";
  assert(stdout.endsWith(reason), stdout);
});
