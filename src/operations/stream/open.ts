/**
 * A stream is opened: what it is asked is read before that returns. The rest of it is loaded then.
 *
 * @module
 */

import { readInputs, readTensor } from "../../check/tensors.ts";
import { cannot, readOptions } from "../../check/words.ts";
import type { Machinery } from "../../contract/backend.ts";
import { useAll } from "../../tensor/lending.ts";
import type { AnyTensor } from "../../tensor/tensor.ts";
import { readAttention } from "../attention/plan.ts";
import { type AttentionStream, type Pushed, streamNames, type StreamOptions } from "./options.ts";
import type { Stream } from "./stream.ts";

/** Opens a stream: reads what it is asked, and holds what it is of until it ends. */
export function openStream<Result>(
  machinery: Machinery | Promise<Machinery>,
  given: AnyTensor,
  options: StreamOptions = {},
): AttentionStream<Result> {
  const read = readOptions(options, streamNames, cannot), { out, ...others } = read;
  const { causal, offset, window, alibi } = read; // The others have what all objects have.
  const q = readTensor("q", given), asked = readAttention(q, q, q, { ...others, lse: true });
  if ((causal || window || alibi) && causal !== "top-left" && offset === undefined) {
    throw new RangeError(
      `${cannot}: \`causal\`, \`window\` and \`alibi\` in a stream need \`offset\`, or ` +
        '`causal: "top-left"`',
    );
  }
  const into = out === undefined ? null : readTensor("out", out);
  const leave = useAll([q, into, ...asked.plan.functions?.arrays.values() ?? []]);
  // Whoever does not await a push hears of its failure from `finish()`.
  const handled = <T>(promise: Promise<T>) => (promise.catch(() => {}), promise);
  const stream = handled(
    import("./stream.ts").then(({ Stream }) => new Stream(machinery, { asked, out, into, leave })),
  );
  const next = <T>(use: (stream: Stream) => T | Promise<T>) => handled(stream.then(use));
  const close = () => void next((one) => one.close());
  return {
    push(k, v) {
      const rows = handled(
        new Promise<Pushed>((resolve) => {
          const inputs = readInputs(q, k, v, asked.plan.written.layout);
          resolve([inputs, useAll([inputs.k, inputs.v])]);
        }),
      );
      return next((one) => one.push(rows));
    },
    finish: () => next((one) => one.finish() as Promise<Result>),
    close,
    [Symbol.dispose]: close,
  };
}
