/**
 * Tensors of layers on the GPU: rows beside rows. An input that lies in a result's buffer is read through the binding of
 * that result, since no dispatch may have one buffer to read and another time to write.
 *
 * @module
 */

import type { Used } from "../../contract/operation.ts";
import type { PlacedTensor } from "../../operations/nn/rows.ts";
import type { RowsPiece } from "../../operations/nn/tokens.ts";
import { bytesPerElement, isGpuBuffer } from "../../tensor/dtype.ts";
import type { AnyView, View } from "../../tensor/tensor.ts";
import type { Binding } from "../device/buffers.ts";
import type { Loan, Submission } from "../device/submission.ts";
import { type Access, accessFlags } from "../shader/access.ts";
import type { Constants } from "../shader/template.ts";
import { bindingOf, type Bound, type Box, type Buffered, reachOf } from "../transfer/box.ts";
import type { Range } from "../transfer/regions.ts";
import { type Sink, sinkOf } from "../transfer/sink.ts";
import { accessOf, type Source, sourceOf } from "../transfer/source.ts";

/** Tensors of a piece as shaders call them: inputs, and results. */
type Input = "x" | "y";
type Result = "out" | "added";

/** All columns of some rows. */
export function boxOf(rows: Range): Box {
  return { batch: [0, 1], heads: [0, 1], rows };
}

/** Where tensors of a piece are: `null` where one is not there. */
export type Placed = Readonly<Record<Input | Result, Bound | null>>;

/** A piece of a call on its way through the device. */
export class PieceTensors {
  /** What tells shaders how to read and write them. */
  readonly flags: Constants;
  readonly #views: ReadonlyMap<Input | Result, AnyView>;
  /** Inputs that are in a result's buffer. */
  readonly #inside: ReadonlyMap<Input, Result>;
  readonly #sources = new Map<Input | Result, Source>();
  readonly #loan: Loan;

  constructor({ x, y, out, sum }: RowsPiece, loan: Loan) {
    const views = { x, y, out, added: sum };
    this.#views = new Map(
      Object.entries(views).filter(([, view]) => view !== null) as [Input | Result, AnyView][],
    );
    this.#inside = insideOf(views);
    this.#loan = loan;
    for (const [name, view] of this.#views) {
      if (isResult(name)) this.#sources.set(name, sinkOf(view, loan, name, false));
      else if (!this.#inside.has(name)) this.#sources.set(name, sourceOf(view, loan, name));
    }
    this.flags = {
      ...accessFlags(this.#access()),
      ...Object.fromEntries([...this.#inside].map(([name, result]) => [`${name}_in_${result}`, 1])),
    };
  }

  /** Bytes of the bindings of some rows. */
  bytes(box: Box): number[] {
    return Array.from(
      this.#sources,
      ([name, source]) => this.#reach(name, box)?.size ?? source.bytes(box),
    );
  }

  /** Finds places for some rows. */
  async place(box: Box): Promise<Placed> {
    const placed: Record<Input | Result, Bound | null> = {
      ...{ x: null, y: null, out: null, added: null },
    };
    for (const [name, source] of this.#sources) {
      const shared = this.#reach(name, box);
      if (shared === undefined) placed[name] = await source.place(box);
      else for (const one of this.#together(name)) placed[one] = this.#boundIn(shared, one, box);
    }
    return placed;
  }

  /** The bindings of places, those of inputs within results left out. */
  bindings({ x, y, out, added }: Placed) {
    const own = (name: Input, bound: Bound | null) => this.#inside.has(name) ? null : bound;
    return { x: own("x", x), y: own("y", y), out, added };
  }

  /** Has results brought to the caller, where they are for arrays. */
  copyBack(placed: Placed, box: Box, submission: Submission): void {
    for (const [name, source] of this.#sources) {
      if (!isResult(name)) continue;
      submission.copyBack(placed[name]!, (bytes) => (source as Sink).collect(box, bytes));
    }
  }

  /** Told when all that was placed is submitted. */
  release(): void {
    for (const source of this.#sources.values()) source.release();
  }

  /** Tensors in one binding are read and written alike. */
  #access(): Record<string, Access> {
    const each = [...this.#views].map(([name, view]) => {
      const [result] = isResult(name) ? [name] : [this.#inside.get(name)];
      const all = result === undefined
        ? [view]
        : this.#together(result).map((one) => this.#views.get(one)!);
      const vectors = all.every((one) => accessOf(one).vectors);
      return [name, { dtype: view.dtype, vectors }] as const;
    });
    return Object.fromEntries(each);
  }

  /** A result, and the inputs in its buffer. */
  #together(result: Input | Result): (Input | Result)[] {
    return [result, ...[...this.#inside].filter(([, of]) => of === result).map(([name]) => name)];
  }

  /** The part of a buffer that has a result and inputs; nothing where there are no such inputs. */
  #reach(name: Input | Result, box: Box): Binding | undefined {
    const together = this.#together(name);
    if (together.length === 1) return undefined;
    const views = together.map((one) => this.#views.get(one) as Buffered);
    const reaches = views.map((view) => reachOf(view, box));
    const first = Math.min(...reaches.map(({ first }) => first));
    const end = Math.max(...reaches.map(({ first, count }) => first + count));
    return bindingOf(views[0], first, end, this.#loan.session.alignment);
  }

  #boundIn(binding: Binding, name: Input | Result, box: Box): Bound {
    const view = this.#views.get(name) as Buffered, { first } = reachOf(view, box);
    return {
      ...{ ...binding, strides: view.strides },
      at: first - binding.offset / bytesPerElement(view.dtype),
    };
  }
}

function isResult(name: Input | Result): name is Result {
  return name === "out" || name === "added";
}

/** Which inputs are in a result's buffer. */
function insideOf(
  { x, y, out, added }: Readonly<Record<Input | Result, View | null>>,
): Map<Input, Result> {
  const inside = new Map<Input, Result>();
  const of = (one: View | null): unknown => one && isGpuBuffer(one.data) ? one.data : undefined;
  for (const [name, view] of [["x", x], ["y", y]] as const) {
    const data = of(view);
    if (data === undefined) continue;
    if (data === of(out)) inside.set(name, "out");
    else if (data === of(added)) inside.set(name, "added");
  }
  return inside;
}

/** Throws where a row takes more than a binding has. */
export function checkRow(cannot: string, bytes: readonly number[], bindingBytes: number): void {
  const most = Math.max(...bytes);
  if (most <= bindingBytes) return;
  throw new RangeError(
    `${cannot}: a row reaches over ${most} bytes of a buffer, of which a shader of this GPU can have ` +
      `${bindingBytes}: lay rows side by side, or compute on the CPU`,
  );
}

/** An axis by which two tensors are apart. */
interface Axis {
  readonly extent: number;
  readonly stride: number;
}

/** Whether steps along axes, the longest first, can come to so many elements. */
function comesTo(elements: number, [first, ...rest]: readonly Axis[]): boolean {
  if (first === undefined) return elements === 0;
  const steps = elements / first.stride;
  return [Math.floor(steps), Math.ceil(steps)].some((step) =>
    Math.abs(step) < first.extent && comesTo(elements - step * first.stride, rest)
  );
}

/** Whether two tensors have an element in common, or may have, without being the same. */
function isShifted(a: PlacedTensor, b: PlacedTensor): boolean {
  if (a.dtype !== b.dtype) return true;
  const axes = a.shape.map((extent, axis) => ({ extent, stride: a.strides[axis] }))
    .filter(({ extent }) => extent > 1);
  const isAlike = a.strides.every((step, axis) => step === b.strides[axis] || a.shape[axis] === 1);
  if (!isAlike) return true;
  const by = a.offset - b.offset;
  return by !== 0 && comesTo(by, axes.sort((a, b) => b.stride - a.stride));
}

/** How a call's tensors may lie in the buffers of its results. */
export interface Lying {
  /** Inputs that may be where a result is, element for element, or in its buffer beside it. */
  readonly over: readonly string[];
  readonly cannot: string;
}

/** Checks that no result is written where something else is still read. */
export function checkBuffers(
  used: Readonly<Record<string, Used | null>>,
  { over, cannot }: Lying,
): void {
  for (const result of ["out", "sum"]) {
    const written = used[result] ?? null;
    if (written === null || !isGpuBuffer(written.data)) continue;
    for (const [name, read] of Object.entries(used)) {
      if (read === null || read.data !== written.data || name === result) continue;
      const isApart = over.includes(name) &&
        !isShifted(read as PlacedTensor, written as PlacedTensor);
      if (isApart) continue;
      throw new RangeError(
        over.includes(name)
          ? `${cannot}: \`${result}\` must be \`${name}\` element for element or share none of its elements, ` +
            "a GPU cannot write what it still reads"
          : `${cannot}: \`${result}\` must be another GPUBuffer than \`${name}\`, ` +
            "a GPU cannot read and write one in one pass",
      );
    }
  }
}
