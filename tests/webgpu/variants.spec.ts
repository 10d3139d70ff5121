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

test("every tile keeps the default limits and fills its staging loops", () => {
  for (const [name, tile] of Object.entries(tiles)) {
    assert(fits(tile, defaults), `${name}: ${workgroupBytes(tile)} bytes`);
    const threads = tile.TX * tile.TY;
    assertEquals(tile.SLICE % tile.TX, 0, name);
    assertEquals(tile.SLICE * keysOf(tile) % threads, 0, name);
    assertEquals(tile.SLICE * rowsOf(tile) % threads, 0, name);
  }
});

test("chooseTile() takes flat tiles for few rows and shares queries only where they fit", () => {
  const demand = { dim: 64, valueDim: 64, queries: 100, group: 1 };
  assertEquals(chooseTile(demand), tiles.narrow);
  assertEquals(chooseTile({ ...demand, queries: 2, group: 8 }), tiles.flat);
  assertEquals(chooseTile({ ...demand, queries: 2, packed: true }), tiles.narrow);
  assertEquals(chooseTile({ ...demand, valueDim: 128 }), tiles.middle);
  assertEquals(chooseTile({ ...demand, dim: 512 }), tiles.wide);
  for (let dim = 1; dim < 600; dim++) {
    const tile = chooseTile({ ...demand, dim });
    assert(!tile.Q_SHARED || dim <= tile.SLICE * 4, `D = ${dim}`);
    assert(chooseSlices(tile, dim) * tile.SLICE / tile.TX <= 4, `D = ${dim}`);
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
