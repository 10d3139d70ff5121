import { readFileSync } from "node:fs";
import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import {
  encodeJob,
  type FieldType,
  type Job,
  jobBytes,
  jobFields,
  jobWords,
  open,
  patchJob,
  storageOf,
} from "../../src/wasm/job_record.ts";

const fields = Object.entries(jobFields) as [keyof Job, FieldType][];

test("the kernel reads every field of the job record where it is written, as its type", () => {
  const source = readFileSync("asm/job.gen.ts", "utf8");
  const getter =
    /export function (\w+)\(record: usize\): (\w+) \{\s*return load<(\w+)>\(record, (\d+)\);\s*\}/g;
  const read = [...source.matchAll(getter)].map(([, name, type, loaded, offset]) => {
    assertEquals(type, loaded);
    return [name, type, Number(offset)];
  });
  const types = { u32: "usize", i32: "i32", f32: "f32" };
  assertEquals(read, fields.map(([name, type], at) => [name, types[type], at * 4]));
});

/** A record as the kernel reads it. */
function read(words: Int32Array<ArrayBuffer>, name: keyof Job): number {
  const at = fields.findIndex(([field]) => field === name) * 4;
  const view = new DataView(words.buffer, words.byteOffset);
  const type = jobFields[name];
  if (type === "f32") return view.getFloat32(at, true);
  return type === "u32" ? view.getUint32(at, true) : view.getInt32(at, true);
}

/** Every integer field, each with a number of its own. */
const numbered: Partial<Job> = Object.fromEntries(
  fields.flatMap(([name, type], at) => type === "f32" ? [] : [[name, at + 1]]),
);

test("encodeJob() writes every integer field and the scale", () => {
  const words = encodeJob(numbered, -0.375);
  assertEquals([words.length, words.byteLength], [jobWords, jobBytes]);
  fields.forEach(([name, type], at) => {
    if (type !== "f32") assertEquals(read(words, name), at + 1, name);
  });
  assertEquals(read(encodeJob({}, -0.375), "scale"), -0.375);
});

test("encodeJob() keeps addresses of the upper half and negative numbers, and leaves the rest 0", () => {
  const given = { q: 0xfffffff0, diagonal: -(2 ** 30), bandLeft: open };
  const words = encodeJob(given, 0.5), expected = { ...given, scale: 0.5 };
  for (const [name] of fields) {
    assertEquals(read(words, name), expected[name as keyof typeof expected] ?? 0, name);
  }
});

test("patchJob() writes the fields given and leaves the others and other records alone", () => {
  const integers = fields.filter(([, type]) => type !== "f32").map(([name]) => name);
  const before = encodeJob(numbered, 3), zeros = new Int32Array(jobWords);
  for (const name of integers) {
    const words = Int32Array.from([...zeros, ...before, ...zeros]);
    patchJob(words, jobWords, { [name]: 0xfffffff0 });
    const record = words.slice(jobWords, 2 * jobWords);
    const expected: Partial<Job> = {
      ...numbered,
      scale: 3,
      [name]: jobFields[name] === "u32" ? 0xfffffff0 : -16,
    };
    fields.forEach(([other]) => assertEquals(read(record, other), expected[other] ?? 0, other));
    const beside = [...words.subarray(0, jobWords), ...words.subarray(2 * jobWords)];
    assert(beside.every((word) => word === 0));
  }
});

test("storageOf has the numbers that the kernel has", () => {
  const source = readFileSync("asm/storage.ts", "utf8");
  const numbers = [...source.matchAll(/export const (\w+): i32 = (\d);/g)]
    .map(([, name, value]) => [name.toLowerCase(), Number(value)]);
  assertEquals(Object.fromEntries(numbers), storageOf);
});
