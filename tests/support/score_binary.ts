/**
 * Score programs in Wasm, as `tests/asm/score_program.ts` has them: one tile at a time.
 *
 * @module
 */

import type { Graph } from "../../src/scores/graph.ts";
import type { Constant, Program, Table } from "../../src/scores/program.ts";
import { encode, layRegisters, type TileSizes } from "../../src/wasm/scored/encode.ts";
import { constantOf, type Graphs, type TilePlace } from "./score_machine.ts";

/** What the test binary exports. */
export interface ScoreExports {
  readonly memory: WebAssembly.Memory;
  heapBase(): number;
  /** `run` is a record of `asm/scored/run.ts`. */
  runProgram(run: number): void;
  expOf(x: number): number;
  logOf(x: number): number;
  sigmoidOf(x: number): number;
  tanhOf(x: number): number;
}

/** A program in a binary's memory. */
export class ScoreBinary {
  readonly #exports: ScoreExports;
  readonly #program: Program;
  readonly #graphs: Graphs;
  readonly #sizes: TileSizes;
  #next: number;

  constructor(exports: ScoreExports, program: Program, graphs: Graphs, sizes: TileSizes) {
    this.#exports = exports;
    this.#program = program;
    this.#graphs = graphs;
    this.#sizes = sizes;
    this.#next = exports.heapBase();
  }

  #take(bytes: number): number {
    const { memory } = this.#exports, at = this.#next;
    this.#next += Math.ceil(bytes / 64) * 64;
    const missing = this.#next - memory.buffer.byteLength;
    if (missing > 0) memory.grow(Math.ceil(missing / 65536));
    return at;
  }

  /** Does what words say: registers, scores and their gradients, the first key and panel, and how many times eight numbers. */
  #run(
    words: readonly number[],
    ...rest: readonly [number, number, number, number, number, number]
  ): void {
    const begin = this.#write(words), operands = Array<number>(7).fill(0);
    this.#exports.runProgram(this.#write([begin, begin + words.length * 4, ...rest, ...operands]));
  }

  #write(words: readonly number[]): number {
    const at = this.#take(words.length * 4);
    new Uint32Array(this.#exports.memory.buffer, at, words.length).set(words);
    return at;
  }

  /** Arrays as they are, each once. */
  #tables(): (table: Table) => { address: number; length: number } {
    const known = new Map<Graph["arrays"][number], number>();
    return ({ array, of }) => {
      const one = this.#graphs[of]!.arrays[array], data = one.data as Float32Array | Int32Array;
      const bits = new Uint32Array(data.buffer, data.byteOffset, data.length);
      const address = known.get(one) ?? this.#write([...bits]);
      known.set(one, address);
      return { address, length: data.length };
    };
  }

  /** What becomes of scores, `[keys][queries]`, of a tile as large as the sizes are. */
  run(scores: Float32Array, { b, h, query, key }: TilePlace): Float32Array {
    const { memory } = this.#exports, program = this.#program;
    const { queries, keys, chunk } = this.#sizes;
    const layout = layRegisters(program, this.#sizes), tables = this.#tables();
    const parts = encode(program, this.#sizes, layout, tables),
      [registers, tile] = [this.#take(layout.bytes), this.#take(keys * 32)];
    const floats = new Float32Array(memory.buffer), wholes = new Int32Array(memory.buffer);
    const at = (register: Parameters<typeof layout.placeOf>[0]) =>
      (registers + layout.placeOf(register)) / 4;
    const fill = ({ to, source, of }: Constant) => {
      const isScore = source.from === "number" ||
        (source.from === "literal" && source.kind === "score");
      (isScore ? floats : wholes).fill(constantOf(source, this.#graphs[of]!), at(to), at(to) + 8);
    };
    program.constants.forEach(fill);
    const counts = {
      once: 1,
      query: queries / 8,
      key: keys / 8,
      distance: (queries + keys + 8) / 8,
    };
    const first = { q: query, k: key, distance: query - (key + keys - 1) };
    for (const [name, register] of program.inputs) {
      if (name === "b" || name === "h") {
        wholes.fill(name === "b" ? b : h, at(register), at(register) + 8);
      } else {
        const length = counts[register.extent as "key"] * 8, from = at(register);
        const begin = first[name as keyof typeof first];
        for (let one = 0; one < length; one++) wholes[from + one] = begin + one;
      }
    }
    const run = (part: keyof typeof parts, fromKey: number, panel: number, n: number) =>
      this.#run(parts[part], registers, tile, 0, fromKey, panel, n);
    for (const part of ["once", "query", "key", "distance"] as const) run(part, 0, 0, counts[part]);
    const out = new Float32Array(scores.length);
    for (let panel = 0; panel < queries / 8; panel++) {
      const place = (one: number, lane: number) => one * queries + panel * 8 + lane;
      const each = (act: (own: number, all: number) => void) => {
        for (let one = 0; one < keys; one++) {
          for (let lane = 0; lane < 8; lane++) {
            act(tile / 4 + one * 8 + lane, place(one, lane));
          }
        }
      };
      const now = () => new Float32Array(memory.buffer);
      each((own, all) => now()[own] = scores[all]);
      for (let from = 0; from < keys; from += chunk) {
        run("score", from, panel, Math.min(chunk, keys - from));
        run("mask", from, panel, Math.min(chunk, keys - from));
      }
      each((own, all) => out[all] = now()[own]);
    }
    return out;
  }
}
