import { assert, assertEquals } from "@std/assert";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import {
  type FieldType,
  intervalFields,
  intervalWords,
  JobRecord,
  storageOf,
} from "../../src/wasm/record/job_record.ts";
import * as gradient from "../../src/wasm/record/gradient.gen.ts";
import * as job from "../../src/wasm/record/job.gen.ts";
import {
  blockFields,
  gradientFields,
  groupRowsFields,
  headRowsFields,
  jobFields,
  tokenFields,
} from "../../tools/records.ts";

const fields = Object.entries(jobFields) as [string, FieldType][];

function capital(name: string, behind: string): string {
  return behind + name[0].toUpperCase() + name.slice(1);
}

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
  const rows = (
    [_, ...more]: string[],
    prefix: string,
  ) => [prefix, ...more.map((name) => capital(name, prefix))];
  const ofJob = Object.keys(jobFields), ofGradient: readonly string[] = gradientFields;
  const group = Object.keys(groupRowsFields), head = Object.keys(headRowsFields);
  for (
    const [fields, expected] of [
      ...["q", "out"].map((prefix) => [ofJob, rows(group, prefix)] as const),
      [ofGradient, rows(group, "dOut")] as const,
      ...["k", "v"].map((prefix) => [ofGradient, rows(head, prefix)] as const),
    ]
  ) {
    const at = fields.indexOf(expected[0]);
    assertEquals(fields.slice(at, at + expected.length), expected);
  }
  const blocks = Object.keys(blockFields), at = ofJob.indexOf("blockTokens");
  const named = (name: string) => name.endsWith("im") ? name : capital(name, "block");
  assertEquals(ofJob.slice(at, at + blocks.length), blocks.map(named));
});

test("a word that TypeScript writes is the one of its field", () => {
  const words = (names: readonly string[]) =>
    Object.fromEntries(names.map((name, word) => [name, word]));
  const sizes = (words: number) => ({ words, bytes: words * 4 });
  const layout = Object.keys(blockFields).map((name) => capital(name, "layout"));
  const tokens = Object.keys(tokenFields).map((name) => capital(name, "token"));
  assertEquals({ ...job }, {
    ...words(fields.map(([name]) => name)),
    ...sizes(fields.length),
    ...words([...layout, ...tokens]),
    tokenWords: layout.length + tokens.length,
  });
  assertEquals({ ...gradient }, { ...words(gradientFields), ...sizes(gradientFields.length) });
});

/** Asserts that the middle one of three records is written in one word and nowhere else. */
function assertWrites(
  write: (record: JobRecord) => void,
  word: number,
  read: (view: DataView, at: number) => number,
  expected: number,
): void {
  const words = Int32Array.from({ length: 3 * job.words }, (_, index) => index);
  write(new JobRecord(words, job.words));
  const at = job.words + word;
  assertEquals(read(new DataView(words.buffer), at * 4), expected);
  assert(words.every((value, index) => index === at || value === index));
}

const readers = {
  u32: (view: DataView, at: number) => view.getUint32(at, true),
  i32: (view: DataView, at: number) => view.getInt32(at, true),
  f32: (view: DataView, at: number) => view.getFloat32(at, true),
};

test("JobRecord writes a field as its type, and leaves others and other records alone", () => {
  for (const [word, [, type]] of fields.entries()) {
    const read = readers[type];
    if (type === "f32") {
      assertWrites((record) => record.setFloat(word, -7.5), word, read, -7.5);
      assertWrites((record) => record.setFloat(word, 0.1), word, read, Math.fround(0.1));
      continue;
    }
    // Addresses of the upper half, and negative numbers.
    const expected = type === "u32" ? 0xfffffff0 : -16;
    assertWrites((record) => record.set(word, 0xfffffff0), word, read, expected);
    assertWrites((record) => record.set(word, -16), word, read, expected);
  }
});

test("storageOf has the numbers that the kernel has", () => {
  const source = readFileSync("asm/storage.ts", "utf8");
  const numbers = [...source.matchAll(/export const (\w+): i32 = (\d);/g)]
    .map(([, name, value]) => [name.toLowerCase(), Number(value)]);
  assertEquals(Object.fromEntries(numbers), storageOf);
});
