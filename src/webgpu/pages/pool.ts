/**
 * A pool of pages: the keys or the values of a cache in one buffer, `[page][head][slot][row]`. Rows are
 * padded to whole vectors of four elements; of bytes a row is words of four and its scale. A page may
 * begin with means in f32, `[head][column]`, which its rows are stored minus.
 *
 * @module
 */

import type { PageLayout, Tokens } from "../../contract/pages.ts";
import { bytesPerElement, type Elements } from "../../tensor/dtype.ts";
import { type AnyView, isOnHost, type View } from "../../tensor/tensor.ts";
import { type Binding, roles } from "../device/buffers.ts";
import { pipelineNow } from "../device/pipelines.ts";
import type { Session } from "../device/session.ts";
import type { Loan, Submission } from "../device/submission.ts";
import type { PageAccess } from "../shader/access.ts";
import { encode } from "../shader/parameters.ts";
import { bindingOf, emptyBound } from "../transfer/box.ts";
import { cutRegion, extent, mostWorkgroups, type Range, type Region } from "../transfer/regions.ts";
import { accessOf, type Source } from "../transfer/source.ts";
import { gatherRows, newElements, paddedColumns } from "../transfer/upload.ts";
import { appendCode, appendFields, appendThreads } from "./variant.ts";

/** Rows that lie side by side in a page, and where they come from, in elements. */
interface Run {
  /** Word of the pool. */
  readonly target: number;
  readonly source: number;
  /** Elements from one head to the next. */
  readonly head: number;
  readonly rows: number;
}

/** Which rows of a tensor. */
export type Rows = Omit<Tokens, "k" | "v">;

/** What waits to be written. */
interface Pending {
  readonly view: AnyView;
  readonly runs: Run[];
  /** Rows of an array, one run after the other. */
  readonly gathered: (Elements & { buffer: ArrayBuffer })[];
}

/** Rows whose mean is computed, of which some are waiting. */
export interface Mean {
  readonly rows: number;
  readonly isFirst: boolean;
}

/** Words of four elements; `int4` is no storage of a GPU. */
const wordsPerVector = { f32: 4, f16: 2, bf16: 2, int8: 1, int4: NaN } as const;

/** Keys or values in pages. */
export class PagePool {
  readonly access: PageAccess;
  readonly pageBytes: number;
  readonly #session: Session;
  readonly #layout: PageLayout;
  readonly #dim: number;
  readonly #rowWords: number;
  readonly #vectors: number;
  /** Bytes of the means. */
  readonly meanBytes: number;
  #buffer: GPUBuffer | undefined;
  #pending: Pending | undefined;

  constructor(session: Session, layout: PageLayout, dim: number, smooth: boolean) {
    const { dtype, kvHeads, pageSize } = layout;
    this.access = { dtype, vectors: true, smooth };
    this.#session = session;
    this.#layout = layout;
    this.#dim = dim;
    this.#vectors = Math.ceil(dim / 4);
    this.#rowWords = this.#vectors * wordsPerVector[dtype] + Number(dtype === "int8");
    this.meanBytes = smooth ? kvHeads * this.#vectors * 16 : 0;
    this.pageBytes = this.meanBytes + this.bytesOf(kvHeads * pageSize);
  }

  /** Bytes of the buffer. */
  get bytes(): number {
    return this.#buffer?.size ?? 0;
  }

  /** Whether something is to be written. */
  get waits(): boolean {
    return this.#pending !== undefined;
  }

  /** The buffer; there must have been a page. */
  get buffer(): GPUBuffer {
    return this.#buffer!;
  }

  /** Makes the buffer anew, for more pages; gives the old one, which is still read. */
  grow(pages: number, submission: Submission): GPUBuffer | undefined {
    const old = this.#buffer;
    this.#buffer = this.#session.gpu.device.createBuffer({
      label: "FlashTile pages",
      size: Math.max(256, pages * this.pageBytes),
      usage: roles.storage,
    });
    if (old !== undefined) submission.copy(old, 0, this.#buffer, 0, old.size);
    return old;
  }

  free(): void {
    this.#buffer?.destroy();
    this.#buffer = undefined;
    this.drop();
  }

  /** Bytes of so many rows. */
  bytesOf(rows: number): number {
    return rows * this.#rowWords * 4;
  }

  /** Byte where a row begins. */
  byteAt(page: number, head: number, slot: number): number {
    const row = this.bytesOf(head * this.#layout.pageSize + slot);
    return page * this.pageBytes + this.meanBytes + row;
  }

  /** The pages as a call reads them: a binding's batches are pages, its rows slots. */
  source(loan: Loan): Source {
    const { pageSize, dtype } = this.#layout;
    // Of bytes words are counted, in which scales and means are, too.
    const elements = dtype === "f16" || dtype === "bf16" ? 2 : 1, row = this.#rowWords * elements;
    const batch = this.pageBytes / 4 * elements, head = pageSize * row;
    return {
      bytes: () => Math.max(256, this.bytes),
      place: (box) => {
        if (this.#buffer === undefined) return emptyBound(loan);
        const [buffer, size] = [this.#buffer, this.bytes];
        return Promise.resolve({
          ...{ buffer, offset: 0, size },
          at: this.meanBytes / 4 + box.heads[0] * head,
          strides: [batch, head, row, 1],
        });
      },
      release: () => {},
    };
  }

  /** Notes rows that are to be written, read here where they are in an array; gives their bytes. */
  put(
    page: number,
    slot: number,
    view: AnyView,
    { batch, from, to }: Rows,
  ): number {
    const pending = this.#pending ??= { view, runs: [], gathered: [] };
    const target = this.byteAt(page, 0, slot) / 4, rows = to - from;
    if (!isOnHost(view)) {
      const { offset, strides: [perBatch, head, perRow] } = view;
      const source = offset + batch * perBatch + from * perRow;
      pending.runs.push({ target, source, head, rows });
      return 0;
    }
    const columns = paddedColumns(view), heads = this.#layout.kvHeads, perHead = rows * columns;
    const gathered = newElements(view, heads * perHead);
    for (let head = 0; head < heads; head++) {
      const part = gathered.subarray(head * perHead, (head + 1) * perHead);
      gatherRows(view, batch, head, from, to, part, columns);
    }
    const last = pending.runs.at(-1);
    const source = last === undefined ? 0 : last.source + last.rows * heads * columns;
    pending.runs.push({ target, source, head: perHead, rows });
    pending.gathered.push(gathered);
    return gathered.byteLength;
  }

  /** Forgets what waits. */
  drop(): void {
    this.#pending = undefined;
  }

  /** Uploads what waits, and has it written, or its mean. */
  dispatch(submission: Submission, mean: Mean | null = null): void {
    const pending = this.#pending;
    this.#pending = undefined;
    if (pending === undefined) return;
    const { view, runs } = pending, { kvHeads } = this.#layout;
    if (isOnHost(view)) {
      const rows = this.#session.staging.put(pending.gathered);
      const columns = paddedColumns(view);
      const dense: View = {
        ...view,
        ...{ offset: 0, shape: [1, 1, 1, columns], strides: [0, 0, columns, 1] },
      };
      this.#dispatch(submission, dense, rows, runs, [0, kvHeads], mean);
      return;
    }
    // Heads that lie apart are cut first: then rows of one are together.
    const whole: Region = { batch: [0, kvHeads], heads: [0, runs.length], positions: [0, 1] };
    const { bindingBytes } = this.#session.bounds;
    const fits = (piece: Region) =>
      this.#bindingOf(view, runs, piece).size <= bindingBytes &&
      extent(piece.heads) <= mostWorkgroups;
    for (const piece of cutRegion(whole, fits)) {
      const binding = this.#bindingOf(view, runs, piece);
      if (binding.size > bindingBytes) {
        throw new RangeError(
          `Cannot append: ${binding.size} bytes for the rows of one head in one page, ` +
            `this GPU can bind ${bindingBytes} at once; rows that lie apart need less as arrays`,
        );
      }
      // Elements are counted from the buffer's first, also where the binding begins elsewhere.
      const at = -binding.offset / bytesPerElement(view.dtype);
      this.#dispatch(submission, view, binding, runs.slice(...piece.heads), piece.batch, mean, at);
    }
  }

  /** The part of a caller's buffer that runs of some heads read. */
  #bindingOf(
    view: View<GPUBuffer>,
    runs: readonly Run[],
    piece: Region,
  ) {
    const { strides, shape } = view;
    let first = Infinity, last = 0;
    for (const { source, head, rows } of runs.slice(...piece.heads)) {
      first = Math.min(first, source + piece.batch[0] * head);
      const row = source + (piece.batch[1] - 1) * head + (rows - 1) * strides[2];
      last = Math.max(last, row + (shape[3] - 1) * strides[3] + 1);
    }
    return bindingOf(view, first, last, this.#session.alignment);
  }

  #dispatch(
    submission: Submission,
    view: AnyView,
    source: Binding,
    runs: readonly Run[],
    heads: Range,
    mean: Mean | null,
    at = 0,
  ): void {
    const { gpu, staging } = this.#session, { strides, dtype } = view;
    const head = this.#layout.pageSize * this.#rowWords, vectors = this.#vectors;
    const stored = accessOf(view);
    const uniforms = encode(appendFields, {
      rows: { at: heads[0] * runs[0].head + at, strides },
      ...{ dim: this.#dim, dim_vectors: vectors, mean_at: heads[0] * vectors * 4 },
      pages: { at: heads[0] * head, strides: [this.pageBytes / 4, head, this.#rowWords, 1] },
      ...(mean && { mean_scale: 1 / mean.rows, is_more: Number(!mean.isFirst) }),
    });
    const table = Uint32Array.from(
      runs.flatMap((run) => [run.target, run.source, run.head, run.rows]),
    );
    const bindings = [
      ...[source, null, null, { buffer: this.buffer, offset: 0, size: this.bytes }],
      ...[null, null, null, staging.put([table])],
    ];
    const { access } = this, isMean = mean !== null;
    const name = `append ${[dtype, stored.vectors, access.dtype, access.smooth, isMean]}`;
    const pipeline = pipelineNow(gpu, name, () => appendCode(stored, access, isMean));
    const most = Math.max(...runs.map(({ rows }) => rows));
    const threads = isMean ? vectors : access.dtype === "int8" ? most : most * vectors;
    const grid = [Math.ceil(threads / appendThreads), extent(heads), runs.length] as const;
    submission.dispatch(pipeline, uniforms, bindings, grid);
  }
}
