import type { DType } from "@flashtile/attention";
import { assert, assertEquals } from "@std/assert";
import { test } from "node:test";
import { plainFields, termFields } from "../../src/webgpu/attention/fields.ts";
import {
  chooseSlices,
  chooseTile,
  classifyCode,
  combineCode,
  fits,
  forwardCode,
  keysOf,
  rowsOf,
  tiles,
  unrolled,
  workgroupBytes,
} from "../../src/webgpu/attention/variants.ts";
import { biasFields, gradientFields } from "../../src/webgpu/backward/variants.ts";
import { pipelineOf } from "../../src/webgpu/device/pipelines.ts";
import type { Access } from "../../src/webgpu/shader/access.ts";
import { blockBytes, encode, structOf } from "../../src/webgpu/shader/parameters.ts";
import { gpuTest, sharedGpu } from "../support/device.ts";
import { errorOf } from "../support/errors.ts";
import { sharedOnGpu } from "../support/share.ts";

/** What every device has. */
const defaults = { maxComputeWorkgroupStorageSize: 16_384, maxComputeInvocationsPerWorkgroup: 256 };

const access = (dtype: DType, vectors = true): Access => ({ dtype, vectors });

test("every tile keeps its limits and fills its staging loops", () => {
  for (const [name, tile] of Object.entries(tiles)) {
    const maxComputeWorkgroupStorageSize = name === "large" ? 32_768 : 16_384;
    const limits = { ...defaults, maxComputeWorkgroupStorageSize };
    assert(fits(tile, limits), `${name}: ${workgroupBytes(tile)} bytes`);
    const { TX, TY, SLICE, VALUES } = tile, threads = TX * TY;
    assertEquals(VALUES % TX, 0, name);
    assertEquals([threads % SLICE, threads % VALUES], [0, 0], name);
    for (const vectors of [SLICE * keysOf(tile), SLICE * rowsOf(tile), VALUES * keysOf(tile)]) {
      assertEquals(vectors % threads, 0, name);
    }
    assertEquals(64 % keysOf(tile), 0, `${name}: a run is a whole number of tiles`);
    assertEquals(keysOf(tile) % unrolled, 0, name);
  }
});

test("chooseTile() looks at rows, the vendor, the limits and the dims", () => {
  const demand = { dim: 64, valueDim: 64, queries: 100, group: 1 };
  const room = { limits: { ...defaults, maxComputeWorkgroupStorageSize: 32_768 } };
  const amd = { adapter: "amd rdna-3 Radeon", device: room };
  assertEquals(chooseTile(demand, amd), tiles.large);
  assertEquals(chooseTile({ ...demand, valueDim: 128 }, amd), tiles.large);
  assertEquals(chooseTile({ ...demand, dim: 132 }, amd), tiles.small);
  assertEquals(chooseTile({ ...demand, queries: 2, group: 8 }, amd), tiles.flat);
  assertEquals(chooseTile({ ...demand, queries: 2, packed: true }, amd), tiles.large);
  assertEquals(chooseTile(demand, { ...amd, device: { limits: defaults } }), tiles.narrow);
  for (
    const adapter of ["NVIDIA GeForce RTX 4090", "nvidia lovelace", "apple metal-3", "Apple M3"]
  ) {
    assertEquals(chooseTile(demand, { ...amd, adapter }), tiles.large, adapter);
  }
  for (
    const adapter of ["qualcomm adreno-7xx", "llvmpipe", "an adapter that does not say its name"]
  ) {
    assertEquals(chooseTile(demand, { ...amd, adapter }), tiles.narrow, adapter);
    assertEquals(chooseTile({ ...demand, dim: 65 }, { ...amd, adapter }), tiles.small, adapter);
  }
  for (let dim = 1; dim < 600; dim++) {
    const tile = chooseTile({ ...demand, dim, valueDim: dim }, amd);
    assert(chooseSlices(tile, dim) * tile.VALUES / tile.TX <= 4, `D = ${dim}`);
  }
});

test("encode() writes each field at its place, and no block is larger than a slot", () => {
  const bytes = new DataView(
    encode(plainFields, { scale: 0.5, band_first: -7, l: { at: 9, strides: [8, 7, 6, 5] } }).buffer,
  );
  const names = Array.from(structOf("", plainFields).matchAll(/(\w+):/g), ([, name]) => name);
  const at = (name: string) => names.indexOf(name) * 4;
  assertEquals(bytes.getFloat32(at("scale"), true), 0.5);
  assertEquals(bytes.getInt32(at("band_first"), true), -7);
  assertEquals([bytes.getUint32(at("l_at"), true), bytes.getUint32(at("l_row"), true)], [9, 6]);
  for (const fields of [plainFields, termFields, gradientFields, biasFields]) {
    const { byteLength } = encode(fields, {});
    assertEquals(byteLength % 16, 0);
    assert(byteLength >= Object.keys(fields).length * 4 && byteLength <= blockBytes);
  }
});

gpuTest(
  "every tile compiles for every way to store, split or not, with terms or without",
  async () => {
    const gpu = await sharedGpu();
    const ways: [Access, Access | null, boolean][] = [
      [access("f32"), access("f32"), true],
      [access("f16", false), access("bf16", false), false],
      [access("bf16"), access("f16"), true],
      [access("f32", false), null, false],
    ];
    const all = [...Object.values(tiles).entries()];
    for (const [row, tile] of sharedOnGpu(all, 2, "tiles")) {
      for (const [column, [input, out, lse]] of ways.entries()) {
        const [q, k, v] = [input, input, input];
        const slices = chooseSlices(tile, 64);
        const terms = (row + column) % 2 === 1; // Each takes seconds in software.
        const code = forwardCode({ tile, slices, q, k, v, out, lse, subgroups: false, terms });
        await pipelineOf(gpu, code, "forward");
      }
    }
    for (const dtype of ["f32", "f16", "bf16"] as const) {
      for (const terms of [false, true]) {
        await pipelineOf(gpu, combineCode({ out: access(dtype), lse: true, terms }), "combine");
      }
    }
  },
);

gpuTest("the shader that looks at bias and mask compiles for either and both", async () => {
  const gpu = await sharedGpu();
  for (const bias of [false, true]) {
    for (const mask of [!bias, true]) {
      await pipelineOf(gpu, classifyCode({ bias, mask }), "classify");
    }
  }
});

gpuTest("pipelineOf() compiles a source once, however many ask", async () => {
  const gpu = await sharedGpu();
  const code = "@compute @workgroup_size(1) fn main() {}";
  const [one, two] = await Promise.all([pipelineOf(gpu, code, "a"), pipelineOf(gpu, code, "b")]);
  assert(one === two);
});

gpuTest("pipelineOf() says what is wrong with a source, and in which line", async () => {
  const gpu = await sharedGpu();
  const code = "@compute @workgroup_size(1)\nfn main() {\n  let x = nobody;\n}";
  const error = await errorOf(() => pipelineOf(gpu, code, "broken")) as Error;
  assert(error.message.startsWith("Cannot compile the shader broken: "), error.message);
  assert(error.message.includes("nobody"), error.message);
});
