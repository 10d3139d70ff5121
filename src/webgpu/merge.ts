/**
 * Merging results over disjoint keys on WebGPU.
 *
 * @module
 */

import type { MergeSums } from "../operations/merge/operation.ts";
import type { Target } from "../operations/attention/target.ts";
import { pipelineOf } from "./device/pipelines.ts";
import type { Session } from "./device/session.ts";
import { type Loan, Submission } from "./device/submission.ts";
import { type Access, accessFlags } from "./shader/access.ts";
import { encode } from "./shader/parameters.ts";
import { codeOf } from "./shader/sources.ts";
import { type Bound, type Box, count, denseStrides, shapeOf } from "./transfer/box.ts";
import { extent } from "./transfer/regions.ts";
import { gridOf, rowBoxes, rowThreads, withLoan } from "./transfer/rows.ts";
import { sinkOf } from "./transfer/sink.ts";
import { accessOf, type Source, sourceOf } from "./transfer/source.ts";

const fields = {
  minus_infinity: "f32",
  not_a_number: "f32",
  /** How many parts are before. */
  part: "u32",
  end_row: "u32",
  value_dim: "u32",
  value_vectors: "u32",
  part_out: "tensor",
  part_lse: "tensor",
  level: "tensor",
  acc: "tensor",
  out: "tensor",
  lse: "tensor",
} as const;

/** The WGSL of the shader that merges a part into those before; `out` of the last. */
function mergeCode(part: Target, out: Access | null): string {
  return codeOf("merge.wgsl", fields, {
    ...{ THREADS: rowThreads, LSE: Number(out !== null), REST: Number(!!part.lseRest) },
    ...accessFlags({ part_out: accessOf(part.out), part_lse: accessOf(part.lse!), out }),
  });
}

/** What is summed, and levels before and after a part: buffers that are given back, or that stay. */
async function ownSums(loan: Loan, box: Box, vectors: number): Promise<Bound[]> {
  const take = async (columns: number) => {
    const room = await loan.room(count(box) * columns * 4, "partial results");
    return { ...room, at: 0, strides: denseStrides(shapeOf(box, columns)) };
  };
  return [await take(vectors * 8), await take(4), await take(4)];
}

/**
 * Merges results over disjoint keys, one part after the other, where there are sums into them; without a
 * target that is all.
 */
export function mergeParts(
  session: Session,
  parts: readonly Target[],
  target: Target | null,
  sums?: MergeSums,
): Promise<void> {
  return withLoan(session, async (loan) => {
    const { shape } = parts[0].out, columns = shape[3], vectors = Math.ceil(columns / 4);
    const inputs = parts.map(({ out, lse, lseRest }, index) => [
      sourceOf(out, loan, `parts[${index}].out`),
      sourceOf(lse!, loan, `parts[${index}].lse`),
      ...(lseRest ? [sourceOf(lseRest, loan, `parts[${index}].lseRest`)] : []),
    ]);
    const sinks = target ? [sinkOf(target.out, loan, "out"), sinkOf(target.lse!, loan, "lse")] : [];
    const kept = sums?.map((view) => sourceOf(view, loan, "sums"));
    const last = target ? parts.length - 1 : -1;
    const pipelines = await Promise.all(parts.map((part, index) => {
      const code = mergeCode(part, index === last ? accessOf(target!.out) : null);
      return pipelineOf(session.gpu, code, "merge");
    }));
    const bytes = (box: Box) => [
      ...[...inputs.flat(), ...sinks, ...kept ?? []].map((one) => one.bytes(box)),
      count(box) * vectors * 32,
    ];
    const place = (all: readonly Source[], box: Box) =>
      Promise.all(all.map(async (one) => await one.place(box)));
    for (const box of rowBoxes(session, shape, vectors, bytes)) {
      const [acc, ...levels] = kept ? await place(kept, box) : await ownSums(loan, box, vectors);
      const [out, lse] = await place(sinks, box);
      const submission = new Submission(session, "merge");
      for (const [part, sources] of inputs.entries()) {
        const [partOut, partLse, partRest = null] = await place(sources, box);
        const uniforms = encode(fields, {
          ...{ minus_infinity: -Infinity, not_a_number: NaN, part: part + Number(!!kept) },
          ...{ value_vectors: vectors, value_dim: columns, end_row: extent(box.rows) },
          ...{ part_out: partOut, part_lse: partLse, level: levels[0], acc, out, lse },
        });
        const written = part === last ? [out, lse] : [levels[(part + 1) % 2], null];
        const bindings = [partOut, partLse, levels[part % 2], ...written, acc, partRest];
        submission.dispatch(pipelines[part], uniforms, bindings, gridOf(box, vectors));
      }
      for (const [at, sink] of sinks.entries()) {
        submission.copyBack(at === 0 ? out : lse, (bytes) => sink.collect(box, bytes));
      }
      if (!kept) { for (const { buffer } of [acc, ...levels]) submission.free(buffer); }
      await submission.submit(loan, "Cannot merge");
      for (const source of inputs.flat()) source.release();
    }
  });
}
