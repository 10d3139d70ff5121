import { assertEquals, assertRejects } from "@std/assert";
import { test } from "node:test";
import { type Modules, readModules } from "../../src/models/architectures/modules.ts";
import { safetensors } from "../support/model_files.ts";

const kind = (name: string, path: string) => ({
  type: `sentence_transformers.models.${name}`,
  path,
});
const dense = (outputs: number, inputs: number, bias: boolean) => {
  const weight = {
    dtype: "F16",
    shape: [outputs, inputs],
    data_offsets: [0, 2 * outputs * inputs],
  };
  const end = weight.data_offsets[1], shape = [outputs];
  const own = { "linear.bias": { dtype: "F16", shape, data_offsets: [end, end + 2 * outputs] } };
  const head = { "linear.weight": weight, ...(bias && own) };
  return safetensors(head, new Uint8Array(end + (bias ? 2 * outputs : 0)));
};
const identity = "torch.nn.modules.linear.Identity", tanh = "torch.nn.modules.activation.Tanh";

/** As EmbeddingGemma has them: two linear layers behind the mean. */
const gemma: Modules = {
  list: [
    kind("Transformer", ""),
    kind("Pooling", "1_Pooling"),
    kind("Dense", "2_Dense"),
    kind("Dense", "3_Dense"),
    kind("Normalize", "4_Normalize"),
  ],
  files: {
    "1_Pooling/config.json": { pooling_mode_mean_tokens: true, pooling_mode_cls_token: false },
    "2_Dense/config.json": {
      ...{ in_features: 4, out_features: 6, bias: false, activation_function: identity },
    },
    "2_Dense/model.safetensors": dense(6, 4, false),
    "3_Dense/config.json": {
      in_features: 6,
      out_features: 3,
      bias: true,
      activation_function: tanh,
    },
    "3_Dense/model.safetensors": dense(3, 6, true),
  },
};

test("modules say how states become an embedding", async () => {
  const { pooling, dense, normalize, dimensions } = await readModules(gemma, 4);
  assertEquals([pooling, normalize, dimensions], ["mean", true, 3]);
  assertEquals(dense.map(({ linear }) => [linear.inputs, linear.outputs]), [[4, 6], [6, 3]]);
  assertEquals(dense.map(({ activation }) => activation), [undefined, "tanh"]);
  assertEquals(dense.map(({ linear }) => linear.bias?.name), [undefined, "linear.bias"]);
  assertEquals((await dense[1].file.read("linear.weight")).shape, [3, 6]);
});

/** Modules of a pooling alone. */
function pooled(config: object, ...more: object[]): Modules {
  const list = [kind("Transformer", ""), kind("Pooling", "1_Pooling"), ...more];
  return { list, files: { "1_Pooling/config.json": config } };
}

test("poolings are known by their fields, or by one word", async () => {
  const of = async (config: object) => (await readModules(pooled(config), 4)).pooling;
  assertEquals(await of({ pooling_mode_cls_token: true, pooling_mode_mean_tokens: false }), "cls");
  assertEquals(await of({ pooling_mode_lasttoken: true, include_prompt: true }), "last");
  assertEquals(await of({ pooling_mode: "mean" }), "mean");
  assertEquals((await readModules(pooled({ pooling_mode: "lasttoken" }), 4)).normalize, false);
});

test("modules that are not known, or lack files, are refused", async () => {
  const refused = async (modules: unknown, kind: new () => Error, message: string) => {
    await assertRejects(() => readModules(modules as Modules, 4), kind, message);
  };
  const mean = { pooling_mode_mean_tokens: true };
  for (
    const wrong of [null, { list: {}, files: {} }, { list: [], files: null }, {
      list: [],
      files: 1,
    }]
  ) {
    await refused(wrong, TypeError, "`modules` must be { list, files }");
  }
  await refused({ list: [{}], files: {} }, TypeError, "`modules.list[0]` must have a `type` and a");
  await refused({ list: [null], files: {} }, TypeError, "`modules.list[0]` must have a `type`");
  await refused({ list: [kind("Pooling", "1")], files: {} }, RangeError, "lacks 1/config.json");
  for (const config of [new Uint8Array(3), null, "{}"]) {
    const message = "1_Pooling/config.json must be parsed JSON";
    await refused(pooled(config as object), TypeError, message);
  }
  for (const module of [{ type: 1, path: "" }, { type: "Pooling" }]) {
    await refused({ list: [module], files: {} }, TypeError, "must have a `type` and a `path`");
  }
  await refused(pooled({}), RangeError, "pooling by nothing is not supported");
  await refused(
    pooled({ pooling_mode_max_tokens: true }),
    RangeError,
    "by pooling_mode_max_tokens",
  );
  await refused(
    pooled({ ...mean, pooling_mode_cls_token: true }),
    RangeError,
    "by pooling_mode_mean_tokens and pooling_mode_cls_token",
  );
  await refused(pooled({ pooling_mode: "max" }), RangeError, 'pooling by "max" is not supported');
  await refused(pooled(mean, kind("LSTM", "2")), RangeError, "a module LSTM in this place");
  await refused(pooled(mean, kind("Pooling", "1_Pooling")), RangeError, "a module Pooling in this");
  await refused(pooled(mean, kind("Transformer", "")), RangeError, "a module Transformer in this");
  const { list, files } = pooled(mean),
    early = { list: [kind("WordEmbeddings", ""), ...list], files };
  await refused(early, RangeError, "a module WordEmbeddings in this place");
  const late = pooled(mean, kind("Normalize", "2"), kind("Dense", "3"));
  await refused(late, RangeError, "a module Dense in this place");
  await refused({ list: [kind("Transformer", "")], files: {} }, RangeError, "has no pooling");
  const changed = (path: string, file: object) => ({
    ...gemma,
    files: { ...gemma.files, [path]: file },
  });
  const config = gemma.files["3_Dense/config.json"];
  await refused(
    changed("3_Dense/config.json", { ...config, in_features: 5 }),
    RangeError,
    "3_Dense: `in_features` must be 6, got 5",
  );
  await refused(
    changed("3_Dense/config.json", { ...config, activation_function: "x.Mish" }),
    RangeError,
    "`activation_function` Mish is not supported",
  );
  await refused(
    changed("3_Dense/model.safetensors", dense(3, 6, false)),
    RangeError,
    "3_Dense: tensors are missing: linear.bias [3]",
  );
  await refused(
    changed("2_Dense/model.safetensors", dense(6, 4, true)),
    RangeError,
    "there are tensors that this architecture does not have: linear.bias",
  );
});
