/**
 * Merging results over disjoint keys on WebGPU.
 *
 * @module
 */

import type { Target } from "../operations/attention/target.ts";
import { roles } from "./device/buffers.ts";
import { pipelineOf } from "./device/pipelines.ts";
import type { Session } from "./device/session.ts";
import { Submission } from "./device/submission.ts";
import { type Access, accessFlags } from "./shader/access.ts";
import { tensorParameters } from "./shader/parameters.ts";
import { sources } from "./shader/sources.ts";
import { expand } from "./shader/template.ts";
import { type Box, count } from "./transfer/box.ts";
import { extent } from "./transfer/regions.ts";
import { gridOf, rowBoxes, rowThreads, withLoan } from "./transfer/rows.ts";
import { sinkOf } from "./transfer/sink.ts";
import { accessOf, sourceOf } from "./transfer/source.ts";

/** The WGSL of the shader that merges a part into those before; `out` of the last. */
function mergeCode(part: Access, lse: Access, out: Access | null): string {
  const constants: Record<string, number> = {
    ...{ THREADS: rowThreads, ...accessFlags("q", part), ...accessFlags("k", lse) },
    ...(out !== null && { LSE: 1, ...accessFlags("o", out) }),
  };
  return expand("merge.wgsl", sources, constants);
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
      const take = async (size: number) => ({
        buffer: await loan.take(size, roles.storage, "partial results"),
        ...{ offset: 0, size },
      });
      const rows = count(box), acc = await take(rows * vectors * 16);
      const ml = [await take(rows * 8), await take(rows * 8)];
      const [o, l] = [await out.place(box), await lse.place(box)];
      const placed = await Promise.all(
        inputs.map(async (part) => [await part.out.place(box), await part.lse.place(box)]),
      );
      const submission = new Submission(session, "merge");
      for (const [index, [q, k]] of placed.entries()) {
        const written = index === last ? [o, l] : [ml[(index + 1) % 2], null];
        const parameters = {
          ...{ minus_infinity: -Infinity, not_a_number: NaN, first_part: index },
          ...{ value_vectors: vectors, value_dim: columns, end_row: extent(box.rows) },
          ...{ query_heads: extent(box.heads) },
          ...tensorParameters("q", q),
          ...tensorParameters("k", k),
          ...tensorParameters("o", o),
          ...{ l_at: l.at, l_batch: l.strides[0], l_head: l.strides[1] },
        };
        const bindings = [q, k, ml[index % 2], ...written, acc];
        submission.dispatch(pipelines[index], parameters, bindings, gridOf(box, vectors));
      }
      submission.copyBack(o, (bytes) => out.collect(box, bytes));
      submission.copyBack(l, (bytes) => lse.collect(box, bytes));
      for (const { buffer } of [acc, ...ml]) submission.free(buffer);
      await submission.submit(loan, "Cannot merge");
      for (const part of inputs) for (const source of [part.out, part.lse]) source.settle();
    }
  });
}
