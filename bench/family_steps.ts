/**
 * What a step of decoding costs, in time and memory, however many tokens came before.
 *
 * @module
 */

import { createEngine, type Engine, type EngineTensor } from "@flashtile/attention";
import {
  createDynamicConvolutionState,
  createLightweightConvolutionState,
  createLocalGlobalState,
  createPerformerState,
} from "@flashtile/attention/linear";
import { numbers } from "./numbers.ts";
import { median } from "./spread.ts";

const heads = 8, D = 64, taps = 31, block = 128;

/** Tokens that came before, and steps that are timed behind them. */
const places = [10, 1000, 100_000], timed = 100;

/** What goes on from token to token, whatever its steps take. */
interface State {
  step(...given: never[]): Promise<unknown>;
  close(): void;
}

/** A kind of state: the tensors of a step in their order, by width. */
interface Kind {
  readonly name: string;
  readonly takes: Readonly<Record<string, number>>;
  open(engine: Engine): State;
}

/** Weights of a lightweight convolution. */
function weightsOn(engine: Engine): EngineTensor {
  const weights = engine.tensor([heads, taps]);
  weights.data.set(numbers(heads * taps, 7));
  return weights;
}

const kinds: readonly Kind[] = [
  {
    name: "Performer, 256 features",
    takes: { q: D, k: D, v: D },
    open: (engine) => createPerformerState({ features: 256, engine }),
  },
  {
    name: `local + global, blocks of ${block}`,
    takes: { q: D, k: D, v: D },
    open: (engine) => createLocalGlobalState({ block, engine }),
  },
  {
    name: `lightweight convolution, ${taps} taps`,
    takes: { v: D },
    open: (engine) => createLightweightConvolutionState(weightsOn(engine), { engine }),
  },
  {
    name: `dynamic convolution, ${taps} taps`,
    takes: { v: D, weights: taps },
    open: (engine) => createDynamicConvolutionState({ engine }),
  },
];

/** What a step costs behind so many tokens. */
export interface StepCost {
  readonly tokens: number;
  readonly microseconds: number;
  /** Bytes of the engine's memory, with the rows that go in and out. */
  readonly bytes: number;
}

/** The same of a kind of state. */
export interface StepCosts {
  readonly name: string;
  readonly costs: readonly StepCost[];
}

/** Tokens that came before are fed so many at a time: what a longer run needs in between would stay, and be counted. */
const run = 10;

/** Tensors of a step of so many tokens, and options with a place for its result. */
function givenOf({ takes }: Kind, engine: Engine, tokens: number): never[] {
  const filled = Object.values(takes).map((width, index) => {
    const one = engine.tensor([heads, tokens, width]);
    one.data.set(numbers(one.data.length, index + 1));
    return one;
  });
  return [...filled, { out: engine.tensor([heads, tokens, D]) }] as never[];
}

/** Measures a state behind so many tokens, on an engine of its own. */
async function measureAt(kind: Kind, tokens: number): Promise<StepCost> {
  await using engine = await createEngine({ backend: "wasm", threads: 1 });
  const state = kind.open(engine), times: number[] = [];
  const [several, one] = [run, 1].map((count) => givenOf(kind, engine, count));
  for (let before = 0; before < tokens; before += run) await state.step(...several);
  for (let at = 0; at < timed; at++) {
    const start = performance.now();
    await state.step(...one);
    times.push(1000 * (performance.now() - start));
  }
  const bytes = engine.memoryBytes;
  state.close();
  return { tokens, microseconds: median(times), bytes };
}

/** Measures every kind, and prints a line for each. */
export async function measureSteps(): Promise<readonly StepCosts[]> {
  const shown = (cells: readonly string[]) => cells.map((cell) => cell.padStart(19)).join("");
  console.log(
    `\nMicroseconds of a step of one token, ${heads} heads, and MiB of the engine, after`,
  );
  console.log("".padEnd(38) + shown(places.map((tokens) => `${tokens} tokens`)));
  const all: StepCosts[] = [];
  for (const kind of kinds) {
    const costs: StepCost[] = [];
    for (const tokens of places) costs.push(await measureAt(kind, tokens));
    const cells = costs.map(({ microseconds, bytes }) =>
      `${microseconds.toFixed(1)}, ${(bytes / 2 ** 20).toFixed(2)}`
    );
    console.log(kind.name.padEnd(38) + shown(cells));
    all.push({ name: kind.name, costs });
  }
  return all;
}
