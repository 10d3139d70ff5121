/**
 * all-MiniLM-L6-v2 by this library, in each form of its weights and products.
 *
 * @module
 */

import { createEngine } from "@flashtile/attention";
import { type Encoder, loadEncoder, type LoadEncoderOptions } from "@flashtile/attention/models";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Subject } from "./subject.ts";

/** A text, and its tokens. */
export interface Text {
  readonly text: string;
  readonly ids: readonly number[];
}

/** What a group of subjects works on. */
export interface Work {
  readonly group: string;
  readonly texts: readonly Text[];
}

/** How weights are kept and products formed. */
const forms: Readonly<Record<string, LoadEncoderOptions>> = {
  f32: { dtype: "f32" },
  int16: { precision: "int16" },
  int8: { precision: "int8" },
};

/** Names of the forms. */
export const formNames: readonly string[] = Object.keys(forms);

/** A file of the model's folder as JSON. */
export function readJson(folder: string, name: string) {
  return JSON.parse(readFileSync(join(folder, name), "utf8"));
}

/** Loads the encoder in some forms, on one engine. */
export async function loadOurs(
  folder: string,
  threads: number,
  names: readonly string[],
  tokenizer?: { encode(text: string): { ids: number[] }; decode(ids: number[]): string },
): Promise<Map<string, Encoder>> {
  const engine = await createEngine({ backend: "wasm", threads });
  const config = readJson(folder, "config.json");
  const weights = new Uint8Array(readFileSync(join(folder, "model.safetensors")));
  const encoders = new Map<string, Encoder>();
  for (const name of names) {
    const encoder = await loadEncoder({ config, weights, tokenizer }, { engine, ...forms[name] });
    encoders.set(name, encoder);
  }
  return encoders;
}

/** Embeddings of the texts' tokens, all in one call. */
export function ourSubjects(encoders: Map<string, Encoder>, work: readonly Work[]): Subject[] {
  return [...encoders].flatMap(([name, encoder]) =>
    work.map(({ group, texts }) => {
      const ids = texts.map(({ ids }) => ids);
      return { group, name, run: () => encoder.embed(ids) };
    })
  );
}
