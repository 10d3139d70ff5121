import { createEngine, type Engine } from "@flashtile/attention";
import { assertEquals, assertMatch } from "@std/assert";
import fc from "fast-check";
import { test } from "node:test";
import { watchBlocks } from "../support/guards.ts";
import { normals, seeded } from "../support/random.ts";
import { varyingSeed } from "../support/seed.ts";
import { longTest, share } from "../support/share.ts";
import { type Act, acts, type Aftermath } from "./acts.ts";
import { assertSameOutcomes, clear, type Ended, endOf } from "./harness.ts";
import { waitFor } from "./moments.ts";
import {
  type Operation,
  operations,
  type Outcomes,
  type Passed,
  type Place,
} from "./operations.ts";
import { type Change, SharedCache, type Tokens } from "./shared_caches.ts";
import { World } from "./world.ts";

/** Programs of a run. */
const programs = { oneThread: 400, twoThreads: 100 } as const;

/** Operations that a program starts; large ones would take its time. */
const started = operations.filter(({ large, fresh }) => !large && !fresh);

/** What happens to one of the calls that were started. */
const happening = acts.filter(({ ends, ofCaches }) => !ends && !ofCaches);

/** One step of a program. */
type Step =
  | {
    readonly do: "start";
    readonly operation: number;
    readonly place: Place;
    readonly seed: number;
  }
  | { readonly do: "attend"; readonly which: number; readonly queries: number }
  | { readonly do: "cascade" }
  | { readonly do: "change"; readonly which: number; readonly change: Change }
  | { readonly do: "act"; readonly act: number; readonly call: number }
  | { readonly do: "wait"; readonly microtasks: number; readonly turns: number }
  | { readonly do: "close" };

/** Sequences of the two caches: one of one sequence, a prefix; one of two. */
const batches = [1, 2];

function changes(batch: number): fc.Arbitrary<Change> {
  const sequence = fc.nat(batch - 1), few = fc.nat(20);
  return fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        do: fc.constant("append" as const),
        counts: fc.array(few, { minLength: batch, maxLength: batch }),
      }),
    },
    fc.record({ do: fc.constant("truncate" as const), sequence, length: few }),
    fc.record({ do: fc.constant("fork" as const), from: sequence, to: sequence }),
    fc.record({ do: fc.constant("evict" as const), first: few, last: few }),
    fc.record({ do: fc.constant("free" as const), sequence }),
  );
}

const start = fc.record({
  do: fc.constant("start" as const),
  operation: fc.nat(started.length - 1),
  place: fc.constantFrom<Place>("arrays", "engine memory"),
  seed: fc.nat(2),
});

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 5, arbitrary: start },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("attend" as const),
      which: fc.nat(1),
      queries: fc.integer({ min: 1, max: 3 }),
    }),
  },
  { weight: 2, arbitrary: fc.constant({ do: "cascade" as const }) },
  {
    weight: 3,
    arbitrary: fc.nat(1).chain((which) =>
      fc.record({
        do: fc.constant("change" as const),
        which: fc.constant(which),
        change: changes(batches[which]),
      })
    ),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant("act" as const),
      act: fc.nat(happening.length - 1),
      call: fc.nat(5),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("wait" as const),
      microtasks: fc.nat(12),
      turns: fc.constantFrom(0, 0, 0, 1),
    }),
  },
);

const program: fc.Arbitrary<readonly Step[]> = fc.tuple(
  fc.array(step, { minLength: 3, maxLength: 10 }),
  fc.constantFrom<readonly Step[]>([], [], [], [{ do: "close" }]),
).map(([steps, end]) => [...steps, ...end]);

/** Where what is right is computed: nothing happens to calls there. */
const calm = createEngine({ backend: "wasm", threads: 1 });

const known = new Map<string, Promise<Outcomes>>();

/** What a call of the table gives when it is alone. */
function alone(operation: Operation, place: Place, seed: number): Promise<Outcomes> {
  const key = [operation.name, place, seed].join();
  if (!known.has(key)) {
    known.set(
      key,
      (async () => {
        const call = (await operation.ready({ engine: await calm, place, seed }))();
        const outcomes = await call.result;
        clear(call);
        return outcomes;
      })(),
    );
  }
  return known.get(key)!;
}

const queriesOf = (batch: number, rows: number) => ({
  data: normals(batch * 2 * rows * 4, seeded(77)),
  shape: [batch, 2, rows, 4],
});

const options = { causal: true, lse: true } as const;

function outcomesOf(result: object): Outcomes {
  return Object.fromEntries(
    Object.entries(result).map(([name, { data, shape }]) => [name, { shape, elements: [...data] }]),
  );
}

/** A call to the caches that a program shares. */
function callTo(engine: Engine, caches: readonly SharedCache[], step: Step): Promise<object> {
  const [prefix, own] = caches.map(({ cache }) => cache);
  if (step.do === "cascade") {
    return engine.cascadeAttention(queriesOf(2, 2), prefix, own, options);
  }
  const { which, queries } = step as Step & { do: "attend" };
  // The first rows of a long call may stand before the first token of a short sequence.
  return [prefix, own][which].attend(queriesOf(batches[which], queries), { ...options, offset: 0 });
}

/** The same, of caches that hold these tokens and that nothing happens to. */
async function calmCall(tokens: readonly Tokens[], step: Step): Promise<Outcomes> {
  const engine = await calm;
  const caches = tokens.map((held, at) => new SharedCache(engine, batches[at], held));
  try {
    return outcomesOf(await callTo(engine, caches, step));
  } finally {
    // The call may be refused too: a later program counts the memory of this engine.
    for (const { cache } of caches) cache.free();
  }
}

/** A call of a program. */
interface Running {
  readonly name: string;
  readonly passed: Passed;
  readonly ended: Promise<Ended>;
  readonly expected: () => Promise<Outcomes>;
  /** Which of the shared caches it reads. */
  readonly reads: readonly number[];
  settled: boolean;
  readonly acts: Act[];
}

const nothing: Passed = {
  ...{ options: [], tensors: [], own: [], caches: [] },
  controller: new AbortController(),
};

/** Runs a program on an engine. */
class Run {
  readonly #world: World;
  readonly #calls: Running[] = [];
  readonly #aftermaths: Aftermath[] = [];
  readonly #caches: readonly SharedCache[];
  #closing: Promise<void> | undefined;

  constructor(world: World) {
    this.#world = world;
    this.#caches = batches.map((batch) => new SharedCache(world.engine, batch));
  }

  get closed(): boolean {
    return this.#closing !== undefined;
  }

  /** Does a step, at once where it need not wait: a microtask more would let calls go on. */
  do(step: Step): Promise<void> | void {
    switch (step.do) {
      case "start":
        return this.#start(step);
      case "attend":
        return this.#call(step, [step.which]);
      case "cascade":
        return this.#call(step, [0, 1]);
      case "change":
        return this.#change(step);
      case "act":
        return this.#act(step);
      case "wait":
        return waitFor(step);
      case "close":
        this.#closing = this.#world.engine.close();
    }
  }

  async #start({ operation: at, place, seed }: Step & { do: "start" }): Promise<void> {
    const operation = started[at], where = operation.bare ? "arrays" : place;
    const { engine } = this.#world;
    const call = (await operation.ready({ engine, place: where, seed }))();
    const expected = () => alone(operation, where, seed);
    this.#follow(operation.name, call, call.result, expected, []);
  }

  #call(step: Step & { do: "attend" | "cascade" }, reads: readonly number[]): void {
    const held = this.#caches.map(({ tokens }) => tokens);
    const call = callTo(this.#world.engine, this.#caches, step).then(outcomesOf);
    this.#follow(step.do, nothing, call, () => calmCall(held, step), reads);
  }

  #follow(
    name: string,
    passed: Passed,
    result: Promise<Outcomes>,
    expected: Running["expected"],
    reads: readonly number[],
  ): void {
    const ended = endOf(result);
    const call: Running = { name, passed, ended, expected, reads, settled: false, acts: [] };
    ended.then(() => call.settled = true);
    this.#calls.push(call);
  }

  #change({ which, change }: Step & { do: "change" }): void {
    const isRead = this.#calls.some(({ reads, settled }) => reads.includes(which) && !settled);
    try {
      this.#caches[which].change(change);
    } catch (error) {
      // Who has not seen the end of a call cannot know that the cache is free.
      if (!isRead) throw error;
      assertMatch(
        (error as Error).message,
        /^Cannot \w+: a call reads the cache, wait for it first$/,
      );
    }
  }

  #act({ act: which, call: at }: Step & { do: "act" }): void {
    const act = happening[which], call = this.#calls.at(-1 - at);
    const passed = call?.passed ?? nothing;
    call?.acts.push(act);
    this.#aftermaths.push(act.act(passed, this.#world.engine, false));
  }

  /** Waits until nothing runs any more. */
  async settle(): Promise<void> {
    for (const { ended } of this.#calls) await ended;
    for (const { settled } of this.#aftermaths) await settled;
    await this.#closing;
  }

  /** Waits for all calls, and checks each. */
  async end(): Promise<void> {
    for (const call of this.#calls) await this.#check(call);
    await this.#closing;
    if (!this.closed) { for (const { check } of this.#aftermaths) await check?.(); }
  }

  async #check({ name, ended: end, expected, acts, passed }: Running): Promise<void> {
    const ended = await end, freed = acts.some(({ frees }) => frees);
    const right = await endOf(expected());
    if ("outcomes" in ended && "outcomes" in right) {
      return named(name, () => assertSameOutcomes(ended.outcomes, right.outcomes, freed));
    }
    const { error } = ("error" in ended ? ended : right) as { error: Error };
    if ("error" in ended) {
      if (acts.some((act) => act.mayReject?.(error, passed))) return;
      if (this.closed && error.message === "Cannot use an engine after `close()`") return;
      // What is refused is refused in the same words where it is alone.
      if ("error" in right && (right.error as Error).message === error.message) return;
    }
    named(name, () => {
      throw error;
    });
  }

  /** Gives everything back. */
  clear(): void {
    for (const { clear } of this.#aftermaths) clear?.();
    for (const { passed } of this.#calls) clear(passed);
    for (const { cache } of this.#caches) cache[Symbol.dispose]();
  }

  /** Blocks of memory that acts keep. */
  get kept(): number {
    return this.#aftermaths.reduce((sum, { kept = 0 }) => sum + kept, 0);
  }
}

function named(name: string, check: () => void): void {
  try {
    check();
  } catch (cause) {
    throw new Error(`${name}: ${(cause as Error)?.message ?? cause}`, { cause });
  }
}

/** Runs random programs on engines, one after the other; an engine goes where something broke. */
async function runPrograms(numRuns: number, make: () => Promise<Engine>): Promise<void> {
  const watch = watchBlocks();
  let world: World | undefined, used = 0;
  const close = async () => {
    await world?.engine.close();
    world = undefined;
  };
  const run = async (steps: readonly Step[]) => {
    if (used++ % 20 === 0) await close();
    if (world === undefined) {
      world = new World(await make());
      await world.check();
    }
    const before = watch.blocks, program = new Run(world);
    let passed = false;
    try {
      for (const step of steps) {
        const waits = program.do(step);
        if (waits !== undefined) await waits;
      }
      await program.end();
      program.clear();
      watch.check();
      if (!program.closed) {
        await world.check();
        assertEquals(watch.blocks - program.kept, before, "blocks of memory");
      }
      passed = !program.closed;
    } finally {
      await program.settle();
      if (!passed) await close();
    }
  };
  try {
    await fc.assert(fc.asyncProperty(program, run), {
      seed: varyingSeed(),
      numRuns: share(numRuns),
    });
  } finally {
    await close();
    watch.end();
  }
}

longTest(
  "random programs give what each call gives alone, on one thread",
  async () => {
    await runPrograms(programs.oneThread, () => createEngine({ threads: 1 }));
  },
);

test("random programs give what each call gives alone, on two threads", async () => {
  await runPrograms(programs.twoThreads, () => createEngine({ backend: "wasm", threads: 2 }));
});

test("the engine that random programs are compared with closes", async () => {
  await (await calm).close();
});
