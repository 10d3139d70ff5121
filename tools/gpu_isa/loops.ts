/**
 * The key loop of a shader in what NAK, Mesa's compiler for NVIDIA, lists: how many instructions a thread has for one tile of
 * keys, and how many of them multiply and add.
 *
 * Loops are found in the graph of the listing's blocks, and the trips of each are known by what is in it, since all inner ones
 * have constant bounds. Branches count as taken, both sides of them; but of the loops that add up values, those that look at
 * each element do not count where there is one that need not: most tiles are whole. So a share is a lower bound.
 *
 * @module
 */

/** A shader's loop over tiles of keys, as the source has it. */
export interface KeyLoop {
  /** Multiply-adds of a thread in one tile. */
  readonly fmas: number;
  /** Slices of D that are staged one after the other. */
  readonly steps: number;
  /** Trips of the loop that adds up products of a slice, and of that which adds up a slice of values. */
  readonly productTrips: number;
  readonly valueTrips: number;
  /** Threads of a row, of which each looks at what the others found. */
  readonly across: number;
}

/** One tile of keys, of one thread. */
export interface TileWork {
  readonly instructions: number;
  /** Of these, in parts of 1. */
  readonly fmaShare: number;
  /** Loads of 16 bytes from workgroup memory for each multiply-add. */
  readonly loadsPerFma: number;
}

interface Block {
  readonly operations: string[];
  readonly before: readonly number[];
  after: readonly number[];
}

interface Loop {
  readonly head: number;
  readonly blocks: ReadonlySet<number>;
  /** Those in no loop within. */
  readonly own: ReadonlySet<number>;
}

const numbersIn = (text: string) => Array.from(text.matchAll(/\d+/g), Number);

/** The operation of a line such as `@!p0  r1 = lea r0 4 // delay=1`. */
function operationOf(line: string): string {
  const code = line.split("//")[0].replace(/^@!?\w+/, "");
  return (code.split(" = ")[1] ?? code).trim().split(/\s/)[0];
}

/** The blocks of the last listing of a shader: those before it are of earlier passes. */
export function blocksOf(printed: string): Block[] {
  const [listing] = printed.split("NAK IR after calc_instr_deps:").at(-1)!.split("Stage:");
  const blocks: Block[] = [];
  for (const line of listing.split("\n")) {
    const begin = /^block(?:\.u)? \d+ L\d+ \[(.*)\] -> \{/.exec(line);
    if (begin) blocks.push({ operations: [], before: numbersIn(begin[1]), after: [] });
    else if (line.startsWith("}")) blocks.at(-1)!.after = numbersIn(line);
    else if (blocks.length > 0 && line.trim() !== "") {
      blocks.at(-1)!.operations.push(operationOf(line));
    }
  }
  return blocks;
}

/** Of each block, those that all ways to it lead through. */
function dominators(blocks: readonly Block[]): Set<number>[] {
  const all = blocks.keys().toArray();
  const found = all.map((at) => new Set(at === 0 ? [0] : all));
  for (let changed = true; changed;) {
    changed = false;
    for (const at of all.slice(1)) {
      const [first, ...others] = blocks[at].before.map((one) => found[one]);
      const next = others.reduce((common, one) => common.intersection(one), new Set(first));
      next.add(at);
      changed ||= next.size !== found[at].size;
      found[at] = next;
    }
  }
  return found;
}

/** The loops. */
function loopsOf(blocks: readonly Block[]): Loop[] {
  const above = dominators(blocks), bodies = new Map<number, Set<number>>();
  for (const [from, { after }] of blocks.entries()) {
    for (const head of after.filter((to) => above[from].has(to))) {
      const body = bodies.get(head) ?? new Set([head]), open = [from];
      for (let at = open.pop(); at !== undefined; at = open.pop()) {
        if (body.has(at)) continue;
        body.add(at);
        open.push(...blocks[at].before);
      }
      bodies.set(head, body);
    }
  }
  return [...bodies].map(([head, body]) => {
    const within = [...bodies].filter(([other]) => other !== head && body.has(other));
    const own = within.reduce((rest, [, inner]) => rest.difference(inner), body);
    return { head, blocks: body, own };
  });
}

/** A loop over keys, of which the graph and the source are known. */
class KeyLoopListing {
  readonly #blocks: readonly Block[];
  readonly #source: KeyLoop;
  readonly #main: Loop;
  readonly #inner: readonly Loop[];

  constructor(blocks: readonly Block[], source: KeyLoop) {
    const loops = loopsOf(blocks);
    this.#blocks = blocks;
    this.#source = source;
    // Whatever else goes round multiplies less.
    this.#main = loops.toSorted((a, b) => this.#countFmas(b.blocks) - this.#countFmas(a.blocks))
      .sort((a, b) => Number(b.blocks.has(a.head)) - Number(a.blocks.has(b.head)))[0];
    this.#inner = loops.filter((one) => one !== this.#main && this.#main.blocks.has(one.head));
  }

  /** Operations whose names begin so that a thread has for a tile. */
  count(begin = ""): number {
    return this.#inner.reduce((sum, loop) => {
      const around = this.#inner.filter((one) => one.blocks.has(loop.head));
      const times = around.reduce((product, one) => product * this.#tripsOf(one), 1);
      return sum + times * this.#countIn(loop.own, begin);
    }, this.#countIn(this.#main.own, begin));
  }

  #tripsOf(loop: Loop): number {
    const { steps, productTrips, valueTrips, across } = this.#source;
    if (this.#isStep(loop)) return steps;
    if (this.#addsValues(loop)) return this.#looks(loop) && this.#needsNoLook() ? 0 : valueTrips;
    if (this.#countFmas(loop.blocks) > 0) return productTrips;
    return this.#countIn(loop.blocks, "ld.shared") > 0 ? across : 1;
  }

  /** Whether a loop stages slices of D, and adds up their products. */
  #isStep({ blocks }: Loop): boolean {
    return this.#countFmas(blocks) > 0 && this.#countIn(blocks, "bar") > 0;
  }

  #addsValues(loop: Loop): boolean {
    return this.#countFmas(loop.blocks) > 0 && !this.#isStep(loop) &&
      !this.#inner.some((one) => this.#isStep(one) && one.blocks.has(loop.head));
  }

  /** Whether it chooses what it adds, element by element. */
  #looks({ own }: Loop): boolean {
    return this.#countIn(own, "sel") > this.#countFmas(own) / 4;
  }

  /** Whether there is another way: in a loop, or unrolled. */
  #needsNoLook(): boolean {
    const adding = this.#inner.filter((loop) => this.#addsValues(loop));
    return adding.some((loop) => !this.#looks(loop)) ||
      adding.every((loop) => this.#countFmas(loop.own) < this.#countFmas(this.#main.own));
  }

  #countFmas(blocks: Iterable<number>): number {
    return this.#countIn(blocks, "ffma");
  }

  #countIn(blocks: Iterable<number>, begin: string): number {
    let sum = 0;
    for (const at of blocks) {
      sum += this.#blocks[at].operations.filter((one) => one.startsWith(begin)).length;
    }
    return sum;
  }
}

/** A tile's work, in what was printed of a shader. */
export function tileWork(printed: string, source: KeyLoop): TileWork {
  const listing = new KeyLoopListing(blocksOf(printed), source), instructions = listing.count();
  return {
    instructions,
    fmaShare: source.fmas / instructions,
    loadsPerFma: listing.count("ld.shared") / source.fmas,
  };
}
