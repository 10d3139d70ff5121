import { assert, assertEquals, assertInstanceOf, assertStringIncludes } from "@std/assert";
import { test } from "node:test";
import { decoders } from "../../src/models/architectures/decoders.ts";
import { encoders } from "../../src/models/architectures/encoders.ts";
import { readModel } from "../../src/models/architectures/read.ts";
import { openWeights } from "../../src/models/files/open.ts";
import { gguf, ggufText } from "../support/model_files.ts";
import { errorOf } from "../support/errors.ts";
import { fileOf, llamaConfig, llamaShapes, refusalOf, type Shapes } from "../support/made_model.ts";

/** Shapes without some tensors, and with others. */
function changed(without: readonly string[], others: Shapes = {}): Shapes {
  const all = Object.entries(llamaShapes()).filter(([name]) => !without.includes(name));
  return { ...Object.fromEntries(all), ...others };
}

/** Asserts that a config is refused, with all of some words in one message. */
async function refused(config: object, ...words: readonly string[]): Promise<void> {
  const error = await refusalOf({ ...llamaConfig, ...config }, llamaShapes());
  assertInstanceOf(error, RangeError);
  for (const word of words) assertStringIncludes(error.message, word);
}

test("a model is its sizes, its choices and its tensors, with or without a prefix", async () => {
  for (const prefix of ["model.", "", "language_model.model.", "model.language_model."]) {
    const plan = await readModel(llamaConfig, await fileOf(llamaShapes(prefix)));
    assertEquals([plan.architecture, plan.isCausal, plan.block], ["llama", true, "before"]);
    assertEquals([plan.width, plan.heads, plan.kvHeads, plan.headDim], [8, 2, 1, 4]);
    assertEquals([plan.scale, plan.begin, plan.ends], [0.5, 1, [2, 3]]);
    assertEquals(plan.layers.length, 2);
    const { qkv, feed, rope, window } = plan.layers[1];
    assertEquals(qkv.map(({ outputs }) => outputs), [8, 4, 4]);
    assertEquals(feed.map(({ weight }) => weight.name.split(".").at(-2)), ["gate_proj", "up_proj"]);
    assertEquals([rope, window], [{ theta: 10_000 }, undefined]);
    assertEquals(plan.head!.weight.name, "lm_head.weight");
  }
});

test("logits that are tied have the embedding's weights, with and without some of their own", async () => {
  const config = { ...llamaConfig, tie_word_embeddings: true };
  for (const shapes of [llamaShapes(), changed(["lm_head.weight"])]) {
    const { head, embedding } = await readModel(config, await fileOf(shapes));
    assertEquals(head!.weight, embedding.tokens);
  }
});

test("a decoder whose states are wanted needs no head", async () => {
  const file = await fileOf(changed(["lm_head.weight"]));
  assertEquals((await readModel(llamaConfig, file, { withoutHead: true })).head, undefined);
  const error = await errorOf(() => readModel(llamaConfig, file)) as Error;
  assertEquals(
    error.message,
    "Cannot read the model (llama): tensors are missing: lm_head.weight [5,8]",
  );
});

test("all that is missing, misshapen or left over is told in one error", async () => {
  const gone = ["model.norm.weight", "model.layers.1.mlp.up_proj.weight"];
  const error = await refusalOf(
    llamaConfig,
    changed(gone, {
      "model.layers.0.self_attn.k_proj.weight": [8, 8],
      "model.layers.1.mlp.down_proj.weight": [6, 8],
      "model.layers.1.self_attn.q_proj.bias": [8],
      "model.layers.0.self_attn.rotary_emb.inv_freq": [2],
    }),
  );
  assertEquals(
    error.message,
    "Cannot read the model (llama): " +
      "tensors are missing: model.layers.1.mlp.up_proj.weight [6,8], model.norm.weight [8]; " +
      "tensors have other shapes: model.layers.0.self_attn.k_proj.weight is [8,8] and must be [4,8], " +
      "model.layers.1.mlp.down_proj.weight is [6,8] and must be [8,6]; " +
      "there are tensors that this architecture does not have: model.layers.1.self_attn.q_proj.bias",
  );
});

test("tensors that are stored in a way that cannot be read are told, when they are needed", async () => {
  for (const [dtype, bytes] of [["F64", 8], ["I8", 1], ["F8_E4M3", 1]] as const) {
    const file = await fileOf(llamaShapes(), dtype, bytes);
    const { message } = await errorOf(() => readModel(llamaConfig, file)) as Error;
    const called = dtype === "I8" ? "i8" : dtype;
    const first = "model.embed_tokens.weight, model.layers.0.input_layernorm.weight";
    assertStringIncludes(
      message,
      `stored in a way that cannot be read: ${called} (${first}, model.`,
    );
    assertStringIncludes(message, " and 18 more)");
  }
});

test("all fields of a config that are wrong are told in one error", async () => {
  await refused(
    { hidden_size: "8", num_attention_heads: null, vocab_size: 2.5, eos_token_id: -1 },
    '`hidden_size` must be a whole number from 1 on, got "8"',
    "`num_attention_heads` must be a whole number from 1 on, got undefined",
    "`vocab_size` must be a whole number from 1 on, got 2.5",
  );
  await refused({ eos_token_id: [2, -1] }, "`eos_token_id` must be a token's id, got -1");
  await refused(
    { num_attention_heads: 3 },
    "`head_dim` must be a whole number from 1 on, got 2.66",
  );
  await refused({ num_key_value_heads: 3 }, "`num_key_value_heads` must divide 2, got 3");
  await refused({ rms_norm_eps: 0 }, "`rms_norm_eps` must be a number above 0, got 0");
  await refused(
    { hidden_act: "quick_gelu" },
    "`hidden_act` must be one of gelu, gelu_new",
    '"quick',
  );
  await refused({ hidden_act: "toString" }, 'got "toString"');
  await refused(
    { num_hidden_layers: 2 ** 50 },
    "`num_hidden_layers` is 1125899906842624, and the file has 21",
  );
  await refused({ layer_types: ["full_attention"] }, "for 2 layers, got full_attention");
  await refused(
    { layer_types: ["full_attention", "linear_attention"] },
    "got full_attention, linear_",
  );
  await refused({ layer_types: "full_attention" }, "`layer_types` must be");
});

test("rotations are tried when a model is read: what rope() would refuse is", async () => {
  await refused({ rope_scaling: { type: "x", factor: 2 } }, "`rope_type` must be one of default");
  await refused(
    { rope_scaling: { type: "linear", factor: 0 } },
    "`scaling.factor` must be above 0",
  );
  const factors = { short_factor: [1, 2, 3], long_factor: [1, 2, 3] };
  const longrope = { type: "longrope", ...factors, original_max_position_embeddings: 4 };
  await refused({ rope_scaling: longrope }, "`scaling.factors` must be 2 numbers");
  await refused({ partial_rotary_factor: 0.75 }, "`dims` must be even and from 2 to D = 4, got 3");
  await refused(
    { rope_parameters: { rope_type: "default", mrope_section: [1, 1] } },
    "`mrope_section` is not supported",
  );
});

test("fields that make another model are refused by their names", async () => {
  await refused({ num_local_experts: 8 }, "`num_local_experts` is not supported");
  await refused(
    { num_experts: 4, quantization_config: { quant_method: "awq" } },
    "`num_experts` is",
    "`quantization_config` is",
  );
  const bert = { model_type: "bert", position_embedding_type: "relative_key", is_decoder: true };
  await refused(bert, '`position_embedding_type` of "relative_key" is not supported');
  await refused(
    { model_type: "gpt2", scale_attn_by_inverse_layer_idx: true },
    "`scale_attn_by_inverse",
  );
  await refused(
    { model_type: "nomic_bert", prenorm: true, qkv_proj_bias: true },
    "`prenorm`, `qkv_",
  );
});

test("unknown architectures are refused, with those that are known", async () => {
  for (const model_type of ["mamba", "toString", undefined, 3, ["llama"]]) {
    await refused(
      { model_type },
      `\`model_type\` must be one of ${Object.keys({ ...encoders, ...decoders }).join(", ")}, got`,
    );
  }
  for (const config of [undefined, null, [], "{}"]) {
    const error = await refusalOf(config as never, llamaShapes());
    assertInstanceOf(error, TypeError);
    assertStringIncludes(
      error.message,
      "`config` must be the parsed config.json of the model, got",
    );
  }
});

test("a GGUF file of an architecture that is not known there is refused", async () => {
  const file = await openWeights(gguf({ values: [ggufText("general.architecture", "gpt2")] }));
  const { message } = await errorOf(() => readModel(undefined, file)) as Error;
  assertEquals(
    message,
    "Cannot read the model (gpt2): GGUF files of this architecture cannot be read",
  );
});

test("the config of the text model is taken where there are others beside it", async () => {
  const config = { model_type: "llava", text_config: llamaConfig, vision_config: {} };
  const file = await fileOf({
    ...llamaShapes("language_model.model."),
    "vision_tower.x.weight": [1],
  });
  assertEquals((await readModel(config, file)).architecture, "llama");
});

/** Windows and rotations of layers, by a config. */
async function layersOf(config: object) {
  const layers = 4, whole = { ...llamaConfig, num_hidden_layers: layers, ...config };
  const shapes = Object.entries(llamaShapes()).flatMap(([name, shape]) =>
    [0, 2].map((by) => [name.replace(/layers\.(\d)/, (_, at) => `layers.${+at + by}`), shape])
  );
  const plan = await readModel(whole, await fileOf(Object.fromEntries(shapes)));
  return plan.layers.map(({ window, rope }) =>
    [window?.join() ?? "all", rope?.theta ?? "none"].join(" ")
  );
}

test("layers see windows and rotate as configs say", async () => {
  const [all, window] = ["all 10000", "6,0 10000"], sliding_window = 7;
  assertEquals(await layersOf({ sliding_window }), [all, all, all, all]);
  const mistral = { model_type: "mistral" };
  assertEquals(await layersOf({ ...mistral, sliding_window }), [window, window, window, window]);
  assertEquals(await layersOf({ ...mistral, sliding_window: null }), [all, all, all, all]);
  const layer_types = [
    "sliding_attention",
    "full_attention",
    "full_attention",
    "sliding_attention",
  ];
  assertEquals(await layersOf({ ...mistral, sliding_window, layer_types }), [
    window,
    all,
    all,
    window,
  ]);
  const smollm3 = { model_type: "smollm3" }, plain = "all 2000000", still = "all none";
  assertEquals(await layersOf(smollm3), [plain, plain, plain, still]);
  assertEquals(await layersOf({ ...smollm3, no_rope_layer_interval: 2 }), [
    plain,
    still,
    plain,
    still,
  ]);
  assertEquals(await layersOf({ ...smollm3, no_rope_layers: [0, 1, 1, 0] }), [
    still,
    plain,
    plain,
    still,
  ]);
  const slides = {
    ...smollm3,
    sliding_window,
    use_sliding_window: true,
    no_rope_layers: [1, 0, 1, 0],
  };
  assertEquals(await layersOf(slides), [plain, "6,0 none", plain, "6,0 none"]);
});

test("every field of a config may be anything: a model or an error, and soon", async () => {
  const file = await fileOf(llamaShapes());
  const odd = [null, undefined, -1, 0, 0.5, NaN, 1e15, "x", true, [], {}, [1], { a: 1 }, 2 ** 31];
  const fields = [
    ...Object.keys(llamaConfig),
    ...[
      "head_dim",
      "layer_types",
      "rope_theta",
      "rope_scaling",
      "rope_parameters",
      "sliding_window",
    ],
    ...["tie_word_embeddings", "attention_bias", "hidden_act", "partial_rotary_factor"],
    ...["text_config", "query_pre_attn_scalar", "attn_logit_softcapping", "pad_token_id"],
  ];
  for (const field of fields) {
    for (const value of odd) {
      try {
        const plan = await readModel({ ...llamaConfig, [field]: value }, file);
        assertEquals(plan.width, 8);
      } catch (error) {
        const { message } = error as Error;
        assert(
          /^Cannot read the model/.test(message),
          `${field} = ${JSON.stringify(value)}: ${message}`,
        );
      }
    }
  }
});
