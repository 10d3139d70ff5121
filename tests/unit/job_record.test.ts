import { assert, assertEquals } from "@std/assert";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import {
  blockFields,
  encodeJob,
  type FieldType,
  type FloatFields,
  gradientFields,
  groupRowsFields,
  headRowsFields,
  type IntegerFields,
  intervalFields,
  intervalWords,
  type Job,
  jobBytes,
  jobFields,
  jobWords,
  patchFloats,
  patchJob,
  storageOf,
} from "../../src/wasm/record/job_record.ts";

const fields = Object.entries(jobFields) as [keyof Job, FieldType][];

/** The fields of a record as the kernels declare it, each with its type: four bytes each, in order. */
function declared(record: string): [string, string][] {
  const source = readFileSync("asm/records.gen.ts", "utf8");
  const [, body] = source.match(new RegExp(`export class ${record} \\{\\n([^}]*)\\}`)) ?? [];
  return [...body!.matchAll(/^ {2}(\w+): (\w+);$/gm)].map(([, name, type]) => [name, type]);
}

test("the kernel reads every field of the job record where it is written, as its type", () => {
  const types = { u32: "usize", i32: "i32", f32: "f32" };
  assertEquals(declared("Job"), fields.map(([name, type]) => [name, types[type]]));
});

test("the kernel reads every word of a visit where it is written", () => {
  const names = declared("KeyInterval").map(([name]) => name);
  assertEquals(Object.fromEntries(names.map((name, word) => [name, word])), intervalFields);
  assertEquals(names.length, intervalWords);
});

test("the kernel reads every word of a gradient record where it is written", () => {
  assertEquals(declared("Gradient"), gradientFields.map((name) => [name, "usize"]));
});

test("records that kernels read within others have the others' order", () => {
  const capital = (name: string) => name[0].toUpperCase() + name.slice(1);
  const rows = (
    [_, ...more]: string[],
    prefix: string,
  ) => [prefix, ...more.map((name) => prefix + capital(name))];
  const job = Object.keys(jobFields), gradient: readonly string[] = gradientFields;
  const group = Object.keys(groupRowsFields), head = Object.keys(headRowsFields);
  for (
    const [fields, expected] of [
      ...["q", "out"].map((prefix) => [job, rows(group, prefix)] as const),
      [gradient, rows(group, "dOut")] as const,
      ...["k", "v"].map((prefix) => [gradient, rows(head, prefix)] as const),
    ]
  ) {
    const at = fields.indexOf(expected[0]);
    assertEquals(fields.slice(at, at + expected.length), expected);
  }
  const blocks = Object.keys(blockFields), at = job.indexOf("blockTokens");
  const named = (name: string) => name.endsWith("im") ? name : `block${capital(name)}`;
  assertEquals(job.slice(at, at + blocks.length), blocks.map(named));
});

/** A record as the kernel reads it. */
function read(words: Int32Array<ArrayBuffer>, name: keyof Job): number {
  const at = fields.findIndex(([field]) => field === name) * 4;
  const view = new DataView(words.buffer, words.byteOffset);
  const type = jobFields[name];
  if (type === "f32") return view.getFloat32(at, true);
  return type === "u32" ? view.getUint32(at, true) : view.getInt32(at, true);
}

/** Every integer field, and every other one, each with a number of its own. */
const integers: IntegerFields = Object.fromEntries(
  fields.flatMap(([name, type], at) => type === "f32" ? [] : [[name, at + 1]]),
);
const floats: FloatFields = Object.fromEntries(
  fields.flatMap(([name, type], at) => type === "f32" ? [[name, -0.375 * (at + 1)]] : []),
);
const numbered: Partial<Job> = { ...integers, ...floats };

test("encodeJob() writes every field as its type", () => {
  const words = encodeJob(integers, floats);
  assertEquals([words.length, words.byteLength], [jobWords, jobBytes]);
  assertEquals(Object.keys(floats), ["unit", "scale", "softcap", "capUnit", "aligned"]);
  for (const [name] of fields) assertEquals(read(words, name), numbered[name], name);
});

test("encodeJob() keeps addresses of the upper half and negative numbers, and leaves the rest 0", () => {
  const given = { q: 0xfffffff0, bandFirst: -(2 ** 30), bandLast: 0x7fffffff };
  const words = encodeJob(given, { scale: 0.5 }), expected = { ...given, scale: 0.5 };
  for (const [name] of fields) {
    assertEquals(read(words, name), expected[name as keyof typeof expected] ?? 0, name);
  }
});

/** Asserts that a patch of the middle one of three records changes one field and nothing else. */
function assertPatches(
  name: keyof Job,
  patch: (words: Int32Array, at: number) => void,
  value: number,
): void {
  const zeros = new Int32Array(jobWords);
  const words = Int32Array.from([...zeros, ...encodeJob(integers, floats), ...zeros]);
  patch(words, jobWords);
  const record = words.slice(jobWords, 2 * jobWords);
  const expected = { ...numbered, [name]: value };
  for (const [other] of fields) assertEquals(read(record, other), expected[other], other);
  const beside = [...words.subarray(0, jobWords), ...words.subarray(2 * jobWords)];
  assert(beside.every((word) => word === 0));
}

test("patchJob() writes the fields given and leaves the others and other records alone", () => {
  for (const name of Object.keys(integers) as (keyof IntegerFields)[]) {
    const value = jobFields[name] === "u32" ? 0xfffffff0 : -16;
    assertPatches(name, (words, at) => patchJob(words, at, { [name]: 0xfffffff0 }), value);
  }
});

test("patchFloats() writes the fields given and leaves the others and other records alone", () => {
  for (const name of Object.keys(floats) as (keyof FloatFields)[]) {
    assertPatches(name, (words, at) => patchFloats(words, at, { [name]: -7.5 }), -7.5);
    assertPatches(name, (words, at) => patchFloats(words, at, { [name]: 0.1 }), Math.fround(0.1));
  }
});

test("storageOf has the numbers that the kernel has", () => {
  const source = readFileSync("asm/storage.ts", "utf8");
  const numbers = [...source.matchAll(/export const (\w+): i32 = (\d);/g)]
    .map(([, name, value]) => [name.toLowerCase(), Number(value)]);
  assertEquals(Object.fromEntries(numbers), storageOf);
});
