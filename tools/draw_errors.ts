/**
 * Writes `docs/ERRORS.md`: what is guessed wrong by who comes from other libraries, and what the library
 * says to it, found out by trying.
 *
 * @module
 */

import * as library from "../mod.ts";
import * as linear from "../src/linear/mod.ts";
import { loadDecoder, loadEncoder } from "../src/models/mod.ts";
import * as nn from "../src/nn/mod.ts";
import { referenceAttention } from "../src/reference/mod.ts";
import type { Files } from "./build_wasm.ts";

/** Calls that are refused, by what is wrong with them. */
const guesses: Readonly<Record<string, readonly string[]>> = {
  "Names of other libraries": [
    "attention(q, k, v, { isCausal: true })",
    "attention(q, k, v, { is_causal: true })",
    "attention(q, k, v, { attn_mask: mask })",
    "attention(q, k, v, { key_padding_mask: mask })",
    "attention(q, k, v, { softmax_scale: 0.125 })",
    "attention(q, k, v, { sm_scale: 0.125 })",
    "attention(q, k, v, { dropout_p: 0 })",
    "attention(q, k, v, { enable_gqa: true })",
    "attention(q, k, v, { score_mod: (score) => score })",
    "attention(q, k, v, { mask_mod: ({ q, k }) => q.ge(k) })",
    "attention(q, k, v, { block_mask: blockMask.causal(4) })",
    "attention(q, k, v, { cu_seqlens: [0, 4] })",
    "attention(q, k, v, { cu_seqlens_q: [0, 4], cu_seqlens_k: [0, 4] })",
    "attention(q, k, v, { max_seqlen_q: 4 })",
    "attention(q, k, v, { seqlens: [4] })",
    "attention(q, k, v, { window_size: [2, 0] })",
    "attention(q, k, v, { sliding_window: 3, causal: true })",
    "attention(q, k, v, { alibi_slopes: [0.5, 0.25] })",
    "attention(q, k, v, { logits_soft_cap: 30 })",
    "attention(q, k, v, { s_aux: [0, 0] })",
    "attention(q, k, v, { return_lse: true })",
    "attention(q, k, v, { casual: true })",
    "referenceAttention(q, k, v, { is_causal: true })",
  ],
  "What is given": [
    "attention([[1, 0], [0, 1]], k, v)",
    "attention([1, 0, 0, 1], k, v)",
    "attention(new Float64Array(16), k, v)",
    "attention({ data: new Float64Array(16), shape: [2, 4, 2] }, k, v)",
    "attention({ data: [[1, 0], [0, 1]], shape: [2, 2] }, k, v)",
    "attention(q, k, { causal: true })",
    "attention({ causal: true }, q, k, v)",
    "attention(q, k, v, v)",
    "attention(q, k, v, { mask: [[true, false], [true, true]] })",
    "attention(q, k, v, { mask: tensor(new Float32Array(16), [4, 4]) })",
    "attention(q, k, v, { window: 0 })",
    "attention(q, k, v, { packed: [1, 2] })",
    "tensor([[1, 2], [3]])",
    "tensor([2, 2], new Float32Array([1, 2, 3, 4]))",
    "tensor(new Float64Array(4), [2, 2])",
  ],
  "Caches, engines and positions": [
    "engine.kvCache({ num_kv_heads: 2, head_dim: 64 })",
    "engine.kvCache({ kvHeads: 2, headDim: 64, max_length: 512 })",
    "engine.kvCache({ kvHeads: 2, headDim: 64, max_batch_size: 4 })",
    "engine.kvCache({ kvHeads: 2, headDim: 64, page_block_size: 16 })",
    "cache.attend(q, { blockMask: blockMask.causal(4) })",
    "cache.attend(q, { cacheSeqlens: [4] })",
    "createEngine({ n_threads: 4 })",
    "createEngine({ num_threads: 4 })",
    "rope(q, k, { base: 10_000 })",
    "rope(q, k, { rope_theta: 10_000 })",
    "rope(q, k, { position_ids: [0, 1, 2, 3] })",
    "rope(q, k, { interleaved: true })",
  ],
  "Block masks, rows, layers and models": [
    "blockMask.causal({ seq_len: 512 })",
    "blockMask.causal({ queries: 512, BLOCK_SIZE: 128 })",
    "blockMask.bigbird({ window: 3, global: 1, random: 1 }, 512)",
    "softmax(q, { dim: -1 })",
    "rmsNorm(q, tensor([1, 1]), { epsilon: 1e-6 })",
    "linformerAttention(q, k, v, { projectK: k, softmaxScale: 1 })",
    "loadDecoder(files, { max_length: 512 })",
    "loadDecoder(files, { n_ctx: 512 })",
    "loadEncoder(files, { torch_dtype: 'f16' })",
  ],
};

/** What a call throws or rejects with, in words. */
async function saidOf(call: string, names: Readonly<Record<string, unknown>>): Promise<string> {
  try {
    await new Function(...Object.keys(names), `return ${call};`)(...Object.values(names));
  } catch (error) {
    const { name, message } = error as Error;
    return `${name}: ${message.replace(/known are [^;]*/, "known are ...")}`;
  }
  throw new Error(`Nothing was said to ${call}`);
}

const head = `# Errors

What is often written by who comes from other libraries, and what the library says to it. The
tensors \`q\`, \`k\` and \`v\` are \`[2, 4, 2]\`; behind "known are" stand the names of all options of the
call, which are left out here. This page is written by trying each line (\`tools/draw_errors.ts\`),
and a test holds it.
`;

/** The page. */
export async function generateErrors(): Promise<Files> {
  const engine = await library.createEngine({ backend: "wasm", threads: 1 });
  const rows = library.tensor(new Float32Array(16), [2, 4, 2]);
  const cache = engine.kvCache({ kvHeads: 2, headDim: 2 });
  const names = {
    ...{ ...library, ...linear, ...nn, loadDecoder, loadEncoder, referenceAttention },
    ...{ engine, cache, q: rows, k: rows, v: rows, files: { config: {}, weights: {} } },
    mask: library.tensor([[true]]),
  };
  try {
    const parts = [head];
    for (const [title, calls] of Object.entries(guesses)) {
      const lines: string[] = [];
      for (const call of calls) lines.push(`${call}\n    ${await saidOf(call, names)}`);
      parts.push(`## ${title}\n\n\`\`\`text\n${lines.join("\n\n")}\n\`\`\`\n`);
    }
    return { "docs/ERRORS.md": parts.join("\n") };
  } finally {
    cache.free();
    await engine.close();
  }
}
