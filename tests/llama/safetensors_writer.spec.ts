import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { parseSafetensors, toFloat32 } from "../../examples/llama/safetensors.ts";
import { formatSafetensors } from "../../examples/llama/safetensors_writer.ts";

test("formatSafetensors() writes what parseSafetensors() reads, to the bit", () => {
  const tensors = [
    { name: "matrix", shape: [2, 3], data: Float32Array.of(1, -2, 0.1, 1e-40, -0, 3e38) },
    { name: "empty", shape: [0, 4], data: new Float32Array(0) },
    { name: "gain", shape: [1], data: Float32Array.of(NaN) },
  ];
  const read = parseSafetensors(formatSafetensors(tensors), "w.safetensors");
  assertEquals([...read.keys()], ["matrix", "empty", "gain"]);
  for (const { name, shape, data } of tensors) {
    assertEquals(read.get(name)!.shape, shape);
    assertEquals(toFloat32(read.get(name)!), data);
  }
});

test("formatSafetensors() writes views of a larger array, and aligns the data to 8 bytes", () => {
  const all = Float32Array.of(1, 2, 3, 4);
  for (const name of ["a", "ab", "abc"]) {
    const file = formatSafetensors([{ name, shape: [2], data: all.subarray(1, 3) }]);
    assertEquals(file.length % 8, 0);
    const read = parseSafetensors(file, "w.safetensors");
    assertEquals(toFloat32(read.get(name)!), Float32Array.of(2, 3));
  }
});
