/**
 * What the binary exports: see `asm/index.ts`.
 *
 * @module
 */

/** What the binary exports. Pointers and sizes are bytes in linear memory; records are in `tools/records.ts`. */
export interface Kernels {
  heapBase(): number;
  callRecord(): number;
  headRows(index: number, at: number, element: number, storage: number, row: number): number;
  scratchBytes(job: number): number;
  panelBytes(job: number): number;
  run(job: number, scratch: number): void;
  combine(job: number, parts: number): void;
  finishQueries(
    job: number,
    chunks: number,
    stride: number,
    factor: number,
    scratch: number,
  ): void;
  finishKeys(
    rows: number,
    source: number,
    sums: number,
    width: number,
    factor: number,
    count: number,
  ): void;
  rowProducts(a: number, b: number, width: number, count: number, target: number): void;
  packKeys(rows: number, source: number, target: number, dim: number, count: number): void;
  packValues(
    rows: number,
    source: number,
    target: number,
    columns: number,
    dim: number,
    count: number,
  ): void;
  writeTokens(tokens: number): void;
  copyToken(layout: number, from: number, source: number, to: number, target: number): void;
  addRows(
    storage: number,
    source: number,
    rows: number,
    width: number,
    weights: number,
    target: number,
  ): void;
  storeRow(storage: number, source: number, target: number, count: number): void;
  rotateRows(
    rows: number,
    count: number,
    table: number,
    pairs: number,
    step: number,
    apart: number,
  ): void;
}
