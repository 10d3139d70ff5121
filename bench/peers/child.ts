/**
 * A child process of the bench: `child.ts ORDER FILE` carries out one order and appends its answers
 * to a file. Runs in any runtime that reads TypeScript, straight from the tree.
 *
 * @module
 */

import { appendFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import process from "node:process";
import { machine } from "../machine.ts";
import { peerNamed } from "./all.ts";
import { checkStep, decoders, decodingProblemOf } from "./decoding.ts";
import { checkGradients, gradientProblemOf, trainers } from "./gradients.ts";
import { growthOf, settle } from "./memory.ts";
import type {
  Answer,
  DecodingOrder,
  GradientOrder,
  Order,
  RaceOrder,
  SizeOrder,
} from "./orders.ts";
import { type Peer, type Prepared, Refusal, type Setup } from "./peer.ts";
import { check, type Problem, problemOf, type Shape } from "./problem.ts";
import { inTurns, turn } from "./turns.ts";

/** Milliseconds of a first call below which a peer is warmed up, and for how long. */
const quickCall = 500, warmUp = 100;

/** Milliseconds above which a call is not repeated to time it warm. */
const longCall = 20_000;

/** Milliseconds that calls are repeated for to find the fastest. */
const repeatFor = 300;

const [orderText, file] = process.argv.slice(2);
const order = JSON.parse(orderText) as Order;

function answer(line: Answer): void {
  appendFileSync(file, JSON.stringify(line) + "\n");
}

/** An error in one line, without colours and without the paths of others' build machines. */
function reasonOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text
    // deno-lint-ignore no-control-regex -- colours begin with the escape character
    .replace(/\x1b\[[\d;]*m/g, "")
    .replace(/(?:\/[\w.@+-]+)+\/([\w.+-]+)/g, "$1")
    .replace(/\s+/g, " ")
    .trim()
    .slice(0, 240);
}

function failureOf(peer: string, error: unknown): Answer {
  const kind = error instanceof Refusal ? "refused" : "failed";
  return { kind, peer, reason: reasonOf(error) };
}

function setupOf({ threads, folder }: Order): Setup {
  const require = createRequire(join(folder, "package.json"));
  return { threads, require, resolve: (name) => require.resolve(name) };
}

/** Something whose results can be checked. */
interface Runner<P extends Runnable> {
  readonly name: string;
  load(): Promise<P>;
  /** @throws {Error} When the result is wrong. */
  check(out: Float32Array, prepared: P): number;
}

interface Runnable {
  run(): Float32Array | Promise<Float32Array>;
}

interface Entrant {
  readonly name: string;
  readonly error: number;
  run(): unknown;
}

/** Gets one ready and checks its first result; one that fails is reported and left out. */
async function enter<P extends Runnable>(runner: Runner<P>): Promise<Entrant | undefined> {
  const { name } = runner;
  answer({ kind: "at", peer: name });
  try {
    const prepared = await runner.load();
    const start = performance.now();
    const error = runner.check(await prepared.run(), prepared);
    if (performance.now() - start < quickCall) await turn(prepared, warmUp);
    return { name, error, run: () => prepared.run() };
  } catch (error) {
    answer(failureOf(name, error));
  }
}

async function inOneRace<P extends Runnable>(runners: readonly Runner<P>[]): Promise<void> {
  const entrants: Entrant[] = [];
  for (const runner of runners) {
    const entrant = await enter(runner);
    if (entrant) entrants.push(entrant);
  }
  const times = await inTurns(
    entrants,
    order.bounds,
    ({ name }) => answer({ kind: "at", peer: name }),
  );
  for (const [index, { name, error }] of entrants.entries()) {
    answer({ kind: "raced", peer: name, milliseconds: times[index], error });
  }
}

async function race({ peers, shape }: RaceOrder): Promise<void> {
  const problem = problemOf(shape);
  await inOneRace(peers.map((name): Runner<Prepared> => ({
    name,
    load: () => peerNamed(name).load(problem, setupOf(order)),
    check: (out, { layout }) => check(problem, out, layout),
  })));
}

async function decode({ peers, shape }: DecodingOrder): Promise<void> {
  const problem = decodingProblemOf(shape);
  const chosen = decoders.filter(({ name }) => peers.includes(name));
  await inOneRace(chosen.map((decoder) => ({
    name: decoder.name,
    load: () => decoder.load(problem, setupOf(order)),
    check: (out: Float32Array) => checkStep(problem, out),
  })));
}

async function train({ peers, shape }: GradientOrder): Promise<void> {
  const problem = gradientProblemOf(shape);
  const chosen = trainers.filter(({ name }) => peers.includes(name));
  await inOneRace(chosen.map((trainer) => ({
    name: trainer.name,
    load: () => trainer.load(problem, setupOf(order)),
    check: (all: Float32Array) => checkGradients(problem, all),
  })));
}

async function size({ peer: name, shape }: SizeOrder): Promise<void> {
  const peer = peerNamed(name);
  answer({ kind: "at", peer: name });
  try {
    const problem = problemOf(shape);
    const { prepared, first, bytes, cold } = await firstCall(peer, shape, problem);
    const error = check(problem, first, prepared.layout);
    const milliseconds = cold > longCall ? cold : Math.min(cold, await fastest(prepared));
    answer({ kind: "sized", peer: name, milliseconds, bytes, error });
  } catch (error) {
    answer(failureOf(name, error));
  }
}

/** The fastest of the calls that fit in some time, in milliseconds. */
async function fastest(prepared: Prepared): Promise<number> {
  const end = performance.now() + repeatFor;
  let best = Infinity;
  do best = Math.min(best, await turn(prepared, 0)); while (performance.now() < end);
  return best;
}

/** The first call at a shape, after a small one has loaded and compiled what there is. */
async function firstCall(peer: Peer, shape: Shape, problem: Problem) {
  const setup = setupOf(order);
  const small = await peer.load(problemOf({ ...shape, queries: 64, keys: 64 }), setup);
  await small.run();
  await small.dispose();
  const prepared = await peer.load(problem, setup);
  await settle();
  const start = performance.now();
  const [first, bytes] = await growthOf(() => prepared.run());
  return { prepared, first, bytes, cold: performance.now() - start };
}

answer({ kind: "runtime", runtime: machine().runtime });
if (order.kind === "race") await race(order);
else if (order.kind === "size") await size(order);
else if (order.kind === "decoding") await decode(order);
else await train(order);
answer({ kind: "done" });
// Peers leave threads behind that would keep the process alive.
process.exit(0);
