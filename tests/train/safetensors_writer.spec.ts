import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { formatSafetensors } from "../../examples/train/safetensors_writer.ts";
import { openWeights } from "../../src/models/files/open.ts";

test("formatSafetensors() writes what the library reads, to the bit", async () => {
  const tensors = [
    { name: "matrix", shape: [2, 3], data: Float32Array.of(1, -2, 0.1, 1e-40, -0, 3e38) },
    { name: "empty", shape: [0, 4], data: new Float32Array(0) },
    { name: "gain", shape: [1], data: Float32Array.of(NaN) },
  ];
  const file = await openWeights(formatSafetensors(tensors));
  assertEquals([...file.entries.keys()], ["matrix", "empty", "gain"]);
  for (const { name, shape, data } of tensors) {
    assertEquals(await file.read(name), { data, shape, dtype: "f32" });
  }
});

test("formatSafetensors() writes views of a larger array, and aligns the data to 8 bytes", async () => {
  const all = Float32Array.of(1, 2, 3, 4);
  for (const name of ["a", "ab", "abc"]) {
    const file = formatSafetensors([{ name, shape: [2], data: all.subarray(1, 3) }]);
    assertEquals(file.length % 8, 0);
    assertEquals((await (await openWeights(file)).read(name)).data, Float32Array.of(2, 3));
  }
});
