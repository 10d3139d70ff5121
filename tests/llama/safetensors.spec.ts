import { test } from "node:test";
import { assertEquals, assertThrows } from "@std/assert";
import { InputError } from "../../examples/llama/error.ts";
import { parseSafetensors, toFloat32 } from "../../examples/llama/safetensors.ts";
import { safetensors } from "./fixtures.ts";

/** A scalar pair of F16, the shortest tensor worth reading: [1, -2]. */
const a = { dtype: "F16", shape: [2], data_offsets: [0, 4] };
const aBytes = [0x00, 0x3c, 0x00, 0xc0];

function refuses(file: Uint8Array, message: string): void {
  assertThrows(() => parseSafetensors(file, "w.safetensors"), InputError, message);
}

test("parseSafetensors() reads names, shapes and values of every dtype, in any order", () => {
  const header = {
    __metadata__: { format: "pt" },
    late: { dtype: "BF16", shape: [1, 1], data_offsets: [12, 14] },
    a,
    single: { dtype: "F32", shape: [2, 1], data_offsets: [4, 12] },
    empty: { dtype: "F32", shape: [0, 3], data_offsets: [14, 14] },
  };
  const bytes = [...aBytes, 0, 0, 0x20, 0x40, 0, 0, 0, 0xbf, 0x40, 0x40];
  const tensors = parseSafetensors(safetensors(header, bytes), "w.safetensors");
  assertEquals([...tensors.keys()], ["late", "a", "single", "empty"]);
  assertEquals(tensors.get("single")!.shape, [2, 1]);
  assertEquals(toFloat32(tensors.get("a")!), Float32Array.of(1, -2));
  assertEquals(toFloat32(tensors.get("single")!), Float32Array.of(2.5, -0.5));
  assertEquals(toFloat32(tensors.get("late")!), Float32Array.of(3));
  assertEquals(toFloat32(tensors.get("empty")!), new Float32Array(0));
});

test("parseSafetensors() reads a scalar, and a file within a larger buffer", () => {
  const scalar = { dtype: "F32", shape: [], data_offsets: [0, 4] };
  const file = safetensors({ scalar }, [0, 0, 0x80, 0x3f]);
  const buffer = new Uint8Array(file.length + 3);
  buffer.set(file, 3);
  const tensors = parseSafetensors(buffer.subarray(3), "w.safetensors");
  assertEquals(toFloat32(tensors.get("scalar")!), Float32Array.of(1));
});

test("parseSafetensors() refuses a file that is too short or cut in its header", () => {
  const message = "Cannot read w.safetensors: a safetensors file has at least 8 bytes";
  refuses(new Uint8Array(0), `${message}, this one has 0`);
  refuses(new Uint8Array(7), `${message}, this one has 7`);
  const file = safetensors({ a }, aBytes);
  refuses(file.subarray(0, 20), "bytes, but only 12 follow; the file is truncated");
  refuses(new TextEncoder().encode("<!doctype html>"), "not in the safetensors format");
});

test("parseSafetensors() refuses a header that is not a JSON object of tensors", () => {
  refuses(safetensors("{", []), "its header is not JSON");
  refuses(safetensors("[1]", []), "its header must be a JSON object of tensors");
  const badUtf8 = safetensors("{}", []);
  badUtf8[8] = 0xff;
  refuses(badUtf8, "its header is not JSON");
  refuses(safetensors({ a: 1 }, []), "tensor `a` must be described by a JSON object");
});

test("parseSafetensors() refuses a dtype that it does not read", () => {
  const message = "expected one of F32, F16, BF16";
  refuses(safetensors({ a: { ...a, dtype: "I64" } }, aBytes), `\`a\` has dtype "I64", ${message}`);
  refuses(safetensors({ a: { ...a, dtype: "toString" } }, aBytes), message);
});

test("parseSafetensors() refuses impossible shapes and offsets", () => {
  for (const shape of [undefined, 2, [-1], [1.5], ["2"], [2 ** 53]]) {
    refuses(
      safetensors({ a: { ...a, shape } }, aBytes),
      "tensor `a` must have a shape of whole numbers >= 0",
    );
  }
  for (const data_offsets of [undefined, [0], [4, 0], [-4, 0], [0, 2, 4], [0, 1e300]]) {
    refuses(
      safetensors({ a: { ...a, data_offsets } }, aBytes),
      "tensor `a` must have data_offsets [begin, end] with begin <= end",
    );
  }
});

test("parseSafetensors() refuses a shape that does not fill its bytes", () => {
  refuses(
    safetensors({ a: { ...a, shape: [3, 5] } }, aBytes),
    "tensor `a` of F16 [3, 5] takes 30 bytes, its data_offsets span 4",
  );
  refuses(safetensors({ a: { ...a, shape: [2 ** 52, 2 ** 52] } }, aBytes), "takes");
});

test("parseSafetensors() refuses truncated data, overlaps, gaps and trailing bytes", () => {
  const b = { ...a, data_offsets: [4, 8] };
  const two = [...aBytes, ...aBytes];
  refuses(
    safetensors({ a, b }, two.slice(0, 7)),
    "tensor `b` ends at byte 8 of the data, which has only 7; the file is truncated",
  );
  refuses(
    safetensors({ a, b: { ...a, data_offsets: [2, 6] } }, two),
    "tensor `b` overlaps tensor `a`",
  );
  refuses(
    safetensors({ a, b: { ...a, data_offsets: [5, 9] } }, two),
    "1 unused bytes stand before tensor `b`",
  );
  refuses(safetensors({ a, b }, [...two, 0, 0]), "2 bytes follow tensor `b`");
});

test("toFloat32() widens every half alike, at even and at odd bytes", () => {
  const halves = Uint8Array.from(
    { length: 2 * 65536 },
    (_, at) => (at & 1) === 0 ? at >> 1 : at >> 9,
  );
  const odd = new Uint8Array(halves.length + 1);
  odd.set(halves, 1);
  const [a, b] = [halves, odd.subarray(1)].map((bytes) =>
    toFloat32({ dtype: "F16", shape: [65536], bytes })
  );
  assertEquals(a, b);
  assertEquals([a[0x3c00], a[0xc000], a[0x7c00], a[1]], [1, -2, Infinity, 2 ** -24]);
});
