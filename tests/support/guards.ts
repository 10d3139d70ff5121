/**
 * Guards around every block of linear memory: bytes before and behind it that nobody may write.
 *
 * @module
 */

import { watch } from "../../src/wasm/memory/arena.ts";

/** Bytes before and behind each block, in whole cache lines: blocks stay aligned. */
const guardBytes = 64;

/** What guards hold: NaN in every storage, so that whoever reads them as numbers is seen, too. */
const pair = [0xa5, 0xff] as const;

/** A block with its guards. */
interface Block {
  readonly memory: WebAssembly.Memory;
  /** Where its owner's bytes begin, and where they end. */
  readonly at: number;
  readonly end: number;
  /** Where its guards begin and end. */
  readonly from: number;
  readonly to: number;
}

/** Looks at the blocks of every engine that are allocated while it watches. */
export interface BlockWatch {
  /** Blocks that were allocated since, and not given back. */
  readonly blocks: number;
  /** Throws where a guard was written, be the block given back by now or not. */
  check(): void;
  /** Later blocks have no guards. */
  end(): void;
}

/** The bytes of a block's guards, with their places. */
function* guardsOf({ at, end, from, to }: Block): Iterable<number> {
  for (let byte = from; byte < at; byte++) yield byte;
  for (let byte = end; byte < to; byte++) yield byte;
}

/** What is wrong with the guards of a block, in words. */
function damageTo(block: Block): string[] {
  const bytes = new Uint8Array(block.memory.buffer);
  for (const byte of guardsOf(block)) {
    if (bytes[byte] === pair[byte % 2]) continue;
    return [`byte ${byte - block.at} of the block of ${block.end - block.at} at ${block.at}`];
  }
  return [];
}

/** Begins to put guards around blocks; one watch at a time. */
export function watchBlocks(): BlockWatch {
  const all = new Map<WebAssembly.Memory, Map<number, Block>>();
  const wrong: string[] = [];
  const blocks = (memory: WebAssembly.Memory) => {
    if (!all.has(memory)) all.set(memory, new Map());
    return all.get(memory)!;
  };
  Object.assign(watch, {
    around: guardBytes,
    taken(memory: WebAssembly.Memory, at: number, wanted: number, span: Block & { bytes: number }) {
      const block = { memory, at, end: at + wanted, from: span.at, to: span.at + span.bytes };
      const bytes = new Uint8Array(memory.buffer);
      for (const byte of guardsOf(block)) bytes[byte] = pair[byte % 2];
      blocks(memory).set(at, block);
    },
    given(memory: WebAssembly.Memory, at: number) {
      const block = blocks(memory).get(at);
      if (block !== undefined) wrong.push(...damageTo(block));
      blocks(memory).delete(at);
    },
  });
  return {
    get blocks() {
      return [...all.values()].reduce((sum, { size }) => sum + size, 0);
    },
    check() {
      const found = [...all.values()].flatMap((ofOne) => [...ofOne.values()].flatMap(damageTo));
      const damage = [...wrong.splice(0), ...found];
      if (damage.length > 0) throw new Error(`Written outside of its block: ${damage.join(", ")}`);
    },
    end() {
      Object.assign(watch, { around: 0, taken: undefined, given: undefined });
      all.clear();
    },
  };
}

/** Watches while `use` runs, and checks at its end. */
export async function withGuards(use: (watch: BlockWatch) => unknown): Promise<void> {
  const watch = watchBlocks();
  try {
    await use(watch);
    watch.check();
  } finally {
    watch.end();
  }
}
