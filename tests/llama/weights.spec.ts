import { test } from "node:test";
import { assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import type { LlamaConfig } from "../../examples/llama/config.ts";
import { InputError } from "../../examples/llama/error.ts";
import type { StoredTensor } from "../../examples/llama/safetensors.ts";
import { takeWeights } from "../../examples/llama/weights.ts";

const config: LlamaConfig = {
  hiddenSize: 4,
  intermediateSize: 6,
  layers: 1,
  heads: 2,
  kvHeads: 1,
  headDim: 2,
  vocabSize: 3,
  context: 8,
  normEpsilon: 1e-5,
  ropeTheta: 10000,
  tiedEmbeddings: true,
};

const shapes: Record<string, number[]> = {
  "model.embed_tokens.weight": [3, 4],
  "model.layers.0.input_layernorm.weight": [4],
  "model.layers.0.self_attn.q_proj.weight": [4, 4],
  "model.layers.0.self_attn.k_proj.weight": [2, 4],
  "model.layers.0.self_attn.v_proj.weight": [2, 4],
  "model.layers.0.self_attn.o_proj.weight": [4, 4],
  "model.layers.0.post_attention_layernorm.weight": [4],
  "model.layers.0.mlp.gate_proj.weight": [6, 4],
  "model.layers.0.mlp.up_proj.weight": [6, 4],
  "model.layers.0.mlp.down_proj.weight": [4, 6],
  "model.norm.weight": [4],
};

/** A tensor whose elements count upwards, so that a mix-up shows itself. */
function stored(shape: number[], first = 0): StoredTensor {
  const size = shape.reduce((product, extent) => product * extent, 1);
  const values = Float32Array.from({ length: size }, (_, i) => first + i);
  return { dtype: "F32", shape, bytes: new Uint8Array(values.buffer) };
}

function tensors(changes: Record<string, StoredTensor | null> = {}): Map<string, StoredTensor> {
  const all = Object.entries(shapes).map(([name, shape]) => [name, stored(shape)] as const);
  const map = new Map<string, StoredTensor>(all);
  for (const [name, tensor] of Object.entries(changes)) {
    if (tensor === null) map.delete(name);
    else map.set(name, tensor);
  }
  return map;
}

test("takeWeights() finds every tensor by its Hugging Face name", () => {
  const weights = takeWeights(
    tensors({ "model.layers.0.mlp.down_proj.weight": stored([4, 6], 100) }),
    config,
    "w.safetensors",
  );
  const { down, gate } = weights.layers[0];
  assertEquals([down.outputs, down.inputs, down.data[0], down.data[23]], [4, 6, 100, 123]);
  assertEquals([gate.outputs, gate.inputs], [6, 4]);
  assertStrictEquals(weights.head, weights.embedding);
});

test("takeWeights() takes lm_head.weight when the embeddings are not tied", () => {
  const weights = takeWeights(
    tensors({ "lm_head.weight": stored([3, 4], 50) }),
    { ...config, tiedEmbeddings: false },
    "w.safetensors",
  );
  assertEquals(weights.head.data[0], 50);
});

test("takeWeights() names a missing tensor", () => {
  for (const name of Object.keys(shapes)) {
    assertThrows(
      () => takeWeights(tensors({ [name]: null }), config, "w.safetensors"),
      InputError,
      `Cannot use w.safetensors: tensor \`${name}\` is missing`,
    );
  }
});

test("takeWeights() names an unknown tensor", () => {
  for (const name of ["lm_head.weight", "model.layers.1.input_layernorm.weight", "x"]) {
    assertThrows(
      () => takeWeights(tensors({ [name]: stored([1]) }), config, "w.safetensors"),
      InputError,
      `Cannot use w.safetensors: tensor \`${name}\` is unknown`,
    );
  }
});

test("takeWeights() names a tensor of another shape", () => {
  const name = "model.layers.0.self_attn.k_proj.weight";
  for (const shape of [[4, 4], [4, 2], [8]]) {
    assertThrows(
      () => takeWeights(tensors({ [name]: stored(shape) }), config, "w.safetensors"),
      InputError,
      `tensor \`${name}\` must have shape [2, 4] as config.json says, got [${shape.join(", ")}]`,
    );
  }
});
