import { assertEquals, assertRejects } from "@std/assert";
import { test } from "node:test";
import { openWeights } from "../../src/models/files/open.ts";
import { numbered, safetensors } from "../support/model_files.ts";

const of = (length: number) => ({ dtype: "U8", shape: [length], data_offsets: [0, length] });
const of8 = (length: number) => ({ ...of(length), dtype: "I8" });
const files = {
  "model-1.safetensors": safetensors({ a: of8(3) }, numbered(3)),
  "model-2.safetensors": safetensors(
    { b: of8(5), extra: { ...of(0), data_offsets: [5, 5] } },
    numbered(5),
  ),
};
const index = {
  metadata: { total_size: 8 },
  weight_map: { a: "model-1.safetensors", b: "model-2.safetensors" },
};

test("shards are one file of what the index names", async () => {
  const opened = await openWeights({ index, files });
  assertEquals([...opened.entries.keys()], ["a", "b"]);
  assertEquals((await opened.read("b")).data, new Int8Array(numbered(5)));
  await assertRejects(() => opened.read("extra"), RangeError, 'there is no tensor "extra"');
});

test("an index that does not fit its files is refused, with all that is missing", async () => {
  const refused = async (given: object, kind: new () => Error, message: string) => {
    await assertRejects(() => openWeights(given as never), kind, message);
  };
  await refused({ index, files: {} }, RangeError, "lacks model-1.safetensors, model-2.safetensors");
  const weight_map = { a: "model-2.safetensors", c: "model-1.safetensors" };
  await refused(
    { index: { weight_map }, files },
    RangeError,
    "not in the files that the index names: a (model-2.safetensors), c (model-1.safetensors)",
  );
  await refused(
    { index: {}, files },
    TypeError,
    "with `weight_map` from tensors to files, got undefined",
  );
  await refused({ index: { weight_map: { a: 1 } }, files }, TypeError, "got 1");
  await refused(
    { index: { weight_map: { a: "toString" } }, files },
    RangeError,
    "`files` lacks toString",
  );
});
