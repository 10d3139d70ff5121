import { readFileSync } from "node:fs";
import { test } from "node:test";
import { assertEquals } from "@std/assert";
import {
  type FieldType,
  type Job,
  jobBytes,
  jobFields,
  open,
  writeJob,
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

test("writeJob() writes every field and nothing else", () => {
  const job = Object.fromEntries(fields.map(([name], at) => [name, at + 1])) as Job;
  const bytes = new Uint8Array(jobBytes + 16).fill(0xaa);
  const memory = new DataView(bytes.buffer);
  writeJob(memory, 8, job);
  fields.forEach(([, type], at) => {
    const place = 8 + at * 4;
    const value = type === "f32" ? memory.getFloat32(place, true) : memory.getInt32(place, true);
    assertEquals(value, at + 1);
  });
  const beside = [...bytes.subarray(0, 8), ...bytes.subarray(8 + jobBytes)];
  assertEquals(beside, new Array(16).fill(0xaa));
});

test("writeJob() keeps addresses of the upper half and negative numbers", () => {
  const zero = Object.fromEntries(fields.map(([name]) => [name, 0])) as Job;
  const memory = new DataView(new ArrayBuffer(jobBytes));
  writeJob(memory, 0, { ...zero, q: 0xfffffff0, diagonal: -(2 ** 30), bandLeft: open });
  const at = (name: keyof Job) => fields.findIndex(([field]) => field === name) * 4;
  assertEquals(memory.getUint32(at("q"), true), 0xfffffff0);
  assertEquals(memory.getInt32(at("diagonal"), true), -(2 ** 30));
  assertEquals(memory.getInt32(at("bandLeft"), true), 0x7fffffff);
});
