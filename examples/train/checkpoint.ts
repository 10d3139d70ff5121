/**
 * Checkpoints: files from which a training goes on as if it had never been stopped.
 *
 * @module
 */

import { InputError } from "../llama/error.ts";
import { createParameters } from "./parameters.ts";
import type { LlamaConfig } from "./config.ts";
import { formatSafetensors } from "./safetensors_writer.ts";
import type { Standing, Step, TrainOptions } from "./train.ts";

/** What a training is of. Only the same one can go on from its checkpoints. */
export interface Identity {
  readonly config: LlamaConfig;
  readonly text: Uint8Array;
  readonly options: TrainOptions;
}

/** A training that goes on. */
export interface Checkpoint extends Standing {
  /** What its steps have shown. */
  readonly steps: readonly Step[];
}

/** Names of tensors beside the weights. */
const [MEANS, SQUARES] = ["adam.means", "adam.squares"];

/** Bytes before a safetensors file's header: its length. */
const LENGTH_BYTES = 8;

/** Writes a checkpoint: a safetensors file of the weights, with what else there is to know. */
export function formatCheckpoint(
  { weights, moments: { means, squares }, steps }: Checkpoint,
  identity: Identity,
): Uint8Array<ArrayBuffer> {
  const shapes = createParameters(identity.config).tensors;
  let begin = 0;
  const tensors = shapes.map(({ name, shape, data: { length } }) => {
    const data = weights.subarray(begin, begin += length);
    return { name, shape, data };
  });
  const whole = (name: string, data: Float32Array) => ({ name, shape: [data.length], data });
  return formatSafetensors([...tensors, whole(MEANS, means), whole(SQUARES, squares)], {
    steps: JSON.stringify(steps),
    ...wordsOf(identity),
  });
}

/**
 * Reads a checkpoint.
 *
 * @param bytes The file.
 * @param source What messages call it: its path.
 * @param identity The training that is to go on.
 * @throws {InputError} When the file is none, is cut off, or is of another training.
 */
export function parseCheckpoint(bytes: Uint8Array, source: string, identity: Identity): Checkpoint {
  const { words, tensors, steps } = parseFile(bytes, source);
  for (const [name, expected] of Object.entries(wordsOf(identity))) {
    if (words[name] === expected) continue;
    throw new InputError(
      `Cannot go on from ${source}: its ${name} is ${words[name]}, here it is ${expected}`,
    );
  }
  const count = createParameters(identity.config).all.length;
  if (tensors.length !== 3 * count) {
    throw new InputError(
      `Cannot use ${source}: it has ${tensors.length} numbers instead of ${3 * count}`,
    );
  }
  const [weights, means, squares] = [0, 1, 2].map((part) =>
    tensors.subarray(part * count, (part + 1) * count)
  );
  return { weights, moments: { steps: steps.length, means, squares }, steps };
}

/** What it must be of, each by what messages call it. */
function wordsOf({ config, text, options }: Identity): Record<string, string> {
  const { steps, batch, rate, seed } = options;
  return {
    "model": JSON.stringify(config),
    "text": `${text.length} bytes of checksum ${checksum(text)}`,
    "--steps": String(steps),
    "--batch": String(batch),
    "--rate": String(rate),
    "--seed": String(seed),
  };
}

/** FNV-1a in 32 bits: enough to tell one text from another. */
function checksum(bytes: Uint8Array): string {
  let hash = 0x811c9dc5;
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193);
  return (hash >>> 0).toString(16);
}

interface Parsed {
  readonly words: Readonly<Record<string, string>>;
  readonly steps: readonly Step[];
  /** The elements of all tensors, in the order in which they were written. */
  readonly tensors: Float32Array;
}

function parseFile(bytes: Uint8Array, source: string): Parsed {
  try {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const begin = LENGTH_BYTES + Number(view.getBigUint64(0, true));
    const header = JSON.parse(new TextDecoder().decode(bytes.subarray(LENGTH_BYTES, begin)));
    const { __metadata__: words, ...tensors } = header;
    const ends = Object.values(tensors as Record<string, { data_offsets: number[] }>)
      .map(({ data_offsets: [, end] }) => end);
    if (begin + Math.max(...ends) !== bytes.length) throw new Error("cut off");
    const size = Float32Array.BYTES_PER_ELEMENT;
    const elements = new Float32Array((bytes.length - begin) / size);
    for (let at = 0; at < elements.length; at++) {
      elements[at] = view.getFloat32(begin + at * size, true);
    }
    return { words, steps: JSON.parse(words.steps), tensors: elements };
  } catch {
    throw new InputError(`Cannot use ${source}: it is no checkpoint, or not the whole of one`);
  }
}
