/**
 * Calls of what is not what it seems, in an engine that has other things in it.
 *
 * @module
 */

import { createEngine, type Engine, type KvCache } from "@flashtile/attention";
import { assertSameBits } from "../support/bits.ts";
import { type BlockWatch, watchBlocks } from "../support/guards.ts";
import { type Call, type Honest, honestly } from "./honest.ts";
import type { Place } from "./operations.ts";
import type { Expected, Victims } from "./tricks.ts";
import { World } from "./world.ts";

/** What came of a call: numbers by name, or an error. */
type Came = Readonly<Record<string, ArrayLike<number>>> | { readonly error: unknown };

/** One hostile call. */
export interface Hostile {
  readonly name: string;
  readonly expected: Expected;
  /** It may end the engine, or free its inputs. */
  readonly ends?: boolean;
  /** Gives what the call gives. */
  run(victims: Victims): Promise<object>;
  /** What is right. */
  right?(engine: Engine): Promise<object>;
}

function numbersOf(result: object): Record<string, ArrayLike<number>> {
  const all: Record<string, ArrayLike<number>> = {};
  for (const [name, value] of Object.entries(result)) {
    if (typeof value !== "object" || value === null) continue;
    const { data, elements = data, shape } = value;
    if (elements === undefined) continue;
    all[name] = Array.from(elements as ArrayLike<number>);
    if (shape !== undefined) all[`shape of ${name}`] = [...shape];
  }
  return all;
}

async function outcomeOf(run: () => Promise<object>): Promise<Came> {
  try {
    return numbersOf(await run());
  } catch (error) {
    return { error };
  }
}

/** Whether an error is one that callers are told of in words. */
function isRefusal(error: unknown): boolean {
  return error instanceof TypeError || error instanceof RangeError ||
    (error instanceof Error && error.message.startsWith("Cannot "));
}

function assertCame(came: Came, right: Came | undefined, { expected, ends }: Hostile): void {
  if ("error" in came) {
    if (isRefusal(came.error)) return;
    throw came.error;
  }
  if (expected === "harmless") return;
  if (expected === "refused") throw new Error("It was not refused");
  if (right === undefined || "error" in right) throw right?.error;
  for (const [name, numbers] of Object.entries(right)) {
    // What was freed cannot be looked at.
    if (ends && !(name in came)) continue;
    assertSameBits(came[name] ?? [], numbers as ArrayLike<number>, name);
  }
}

/** An engine, what others have in it, and whom tricks may turn against. */
interface Scene {
  readonly world: World;
  readonly victim: KvCache;
}

async function makeScene(): Promise<Scene> {
  const engine = await createEngine({ backend: "wasm", threads: 1 });
  await engine.warmup({ gradients: true, dim: 4 });
  const world = new World(engine), victim = engine.kvCache({ kvHeads: 2, headDim: 4 });
  const tokens = { data: new Float32Array(2 * 50 * 4).fill(3), shape: [1, 2, 50, 4] };
  victim.append(tokens, tokens);
  world.surround(1000);
  await world.check();
  return { world, victim };
}

async function runOne(hostile: Hostile, scene: Scene, watch: BlockWatch, calm: Engine) {
  const { world, victim } = scene, { engine } = world;
  const right = hostile.right && await outcomeOf(() => hostile.right!(calm));
  const came = await outcomeOf(() => hostile.run({ engine, own: [], cache: victim }));
  assertCame(came, right, hostile);
  watch.check();
  if (!hostile.ends) await world.check();
}

/** Runs hostile calls one after the other; gives what went wrong. */
export async function runAll(all: readonly Hostile[]): Promise<string[]> {
  const wrong: string[] = [], watch = watchBlocks();
  const calm = await createEngine({ backend: "wasm", threads: 1 });
  let scene: Scene | undefined;
  const close = async () => {
    await scene?.world.engine.close();
    scene = undefined;
  };
  try {
    for (const hostile of all) {
      scene ??= await makeScene();
      try {
        await runOne(hostile, scene, watch, calm);
      } catch (error) {
        wrong.push(`${hostile.name}: ${(error as Error)?.message ?? error}`);
        await close();
      }
      if (hostile.ends) await close();
    }
  } finally {
    await close();
    await calm.close();
    watch.end();
  }
  return wrong;
}

/** A call with one of its arguments or options replaced, in a place. */
export function hostileCall(
  call: Call,
  place: Place,
  what: Pick<Hostile, "name" | "expected" | "ends">,
  replace: (honest: Honest, victims: Victims) => void,
): Hostile {
  const finish = async (honest: Honest, run: Promise<object>) => {
    try {
      return { ...await run, ...elementsOf(honest) };
    } finally {
      for (const tensor of honest.own) tensor.free();
    }
  };
  return {
    ...what,
    name: `${call.name}, inputs in ${place}: ${what.name}`,
    async run(victims) {
      const honest = honestly(call, place, victims.engine);
      replace(honest, { ...victims, own: honest.own });
      return await finish(honest, called(call, victims.engine, honest));
    },
    async right(engine) {
      const honest = honestly(call, "arrays", engine);
      return await finish(honest, called(call, engine, honest));
    },
  };
}

/** Runs a call; what it throws at once counts as a rejection. */
async function called(call: Call, engine: Engine, { given, options }: Honest): Promise<object> {
  return await call.run(engine, given, options);
}

/** The inputs after a call, unless they were freed in it. */
function elementsOf(honest: Honest): object {
  try {
    return honest.elements();
  } catch {
    return {};
  }
}
