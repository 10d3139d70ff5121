/**
 * Merging results over disjoint keys on WebGPU.
 *
 * @module
 */

import type { Target } from "../operations/attention/target.ts";
import { pipelineOf } from "./device/pipelines.ts";
import type { Session } from "./device/session.ts";
import { Submission } from "./device/submission.ts";
import { type Access, accessFlags } from "./shader/access.ts";
import { encode } from "./shader/parameters.ts";
import { codeOf } from "./shader/sources.ts";
import { type Box, count } from "./transfer/box.ts";
import { extent } from "./transfer/regions.ts";
import { gridOf, rowBoxes, rowThreads, withLoan } from "./transfer/rows.ts";
import { sinkOf } from "./transfer/sink.ts";
import { accessOf, sourceOf } from "./transfer/source.ts";

const fields = {
  minus_infinity: "f32",
  not_a_number: "f32",
  /** How many parts are before. */
  part: "u32",
  heads: "u32",
  end_row: "u32",
  value_dim: "u32",
  value_vectors: "u32",
  part_out: "tensor",
  part_lse: "tensor",
  out: "tensor",
  lse: "tensor",
} as const;

/** The WGSL of the shader that merges a part into those before; `out` of the last. */
function mergeCode(part_out: Access, part_lse: Access, out: Access | null): string {
  return codeOf("merge.wgsl", fields, {
    ...{ THREADS: rowThreads, LSE: Number(out !== null) },
    ...accessFlags({ part_out, part_lse, out }),
  });
}

/** Merges results over disjoint keys, one part after the other. */
export function mergeParts(
  session: Session,
  parts: readonly Target[],
  target: Target,
): Promise<void> {
  return withLoan(session, async (loan) => {
    const { shape } = target.out, columns = shape[3], vectors = Math.ceil(columns / 4);
    const inputs = parts.map(({ out, lse }, index) => ({
      out: sourceOf(out, loan, `parts[${index}].out`),
      lse: sourceOf(lse!, loan, `parts[${index}].lse`),
    }));
    const [out, lse] = [
      sinkOf(target.out, loan, "out"),
      sinkOf(target.lse!, loan, "lse"),
    ];
    const last = inputs.length - 1;
    const pipelines = await Promise.all(parts.map((part, index) => {
      const code = mergeCode(
        accessOf(part.out),
        accessOf(part.lse!),
        index === last ? accessOf(target.out) : null,
      );
      return pipelineOf(session.gpu, code, "merge");
    }));
    const bytes = (box: Box) => [
      ...inputs.flatMap((part) => [part.out.bytes(box), part.lse.bytes(box)]),
      out.bytes(box),
      count(box) * vectors * 16,
    ];
    for (const box of rowBoxes(session, shape, vectors, bytes)) {
      const take = (bytes: number) => loan.room(count(box) * bytes, "partial results");
      const acc = await take(vectors * 16), ml = [await take(8), await take(8)];
      const [o, l] = [await out.place(box), await lse.place(box)];
      const placed = await Promise.all(
        inputs.map(async (part) => [await part.out.place(box), await part.lse.place(box)]),
      );
      const submission = new Submission(session, "merge");
      for (const [part, [partOut, partLse]] of placed.entries()) {
        const written = part === last ? [o, l] : [ml[(part + 1) % 2], null];
        const uniforms = encode(fields, {
          ...{ minus_infinity: -Infinity, not_a_number: NaN, part },
          ...{ value_vectors: vectors, value_dim: columns, end_row: extent(box.rows) },
          heads: extent(box.heads),
          part_out: partOut,
          part_lse: partLse,
          out: o,
          lse: l,
        });
        const bindings = [partOut, partLse, ml[part % 2], ...written, acc];
        submission.dispatch(pipelines[part], uniforms, bindings, gridOf(box, vectors));
      }
      submission.copyBack(o, (bytes) => out.collect(box, bytes));
      submission.copyBack(l, (bytes) => lse.collect(box, bytes));
      for (const { buffer } of [acc, ...ml]) submission.free(buffer);
      await submission.submit(loan, "Cannot merge");
      for (const part of inputs) for (const source of [part.out, part.lse]) source.release();
    }
  });
}
