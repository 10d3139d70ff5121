/**
 * An engine with somebody else's things in it: whatever is done to other calls, these stay.
 *
 * @module
 */

import type { Engine, EngineTensor, KvCache } from "@flashtile/attention";
import { assertSameBits } from "../support/bits.ts";
import { normals, seeded } from "../support/random.ts";

const pattern = Float32Array.from({ length: 300 }, (_, at) => at * 1.5 - 70);

const q = { data: normals(2 * 3 * 4, seeded(31)), shape: [2, 3, 4] };
const k = { data: normals(2 * 9 * 4, seeded(32)), shape: [2, 9, 4] };
const tokens = { data: normals(2 * 40 * 4, seeded(33)), shape: [1, 2, 40, 4] };
const queries = { data: q.data, shape: [1, 2, 3, 4] };

/** What calls of others give. */
interface Answers {
  readonly out: ArrayLike<number>;
  readonly ofCache: ArrayLike<number>;
}

async function answersOf(engine: Engine, cache: KvCache): Promise<Answers> {
  const { out } = await engine.attention(q, k, k, { causal: true });
  const ofCache = await cache.attend(queries, { causal: true });
  return { out: out.data, ofCache: ofCache.out.data };
}

/** An engine, and what others have in it. */
export class World {
  readonly engine: Engine;
  readonly #neighbours: EngineTensor[] = [];
  readonly #cache: KvCache;
  #answers: Answers | undefined;

  /** `hostTensors` says whether the engine's own tensors are arrays. */
  constructor(engine: Engine, hostTensors = true) {
    this.engine = engine;
    this.#cache = engine.kvCache({ kvHeads: 2, headDim: 4, pageSize: 16 });
    if (hostTensors) this.#add();
    this.#cache.append(tokens, tokens);
    if (hostTensors) this.#add();
  }

  #add(): void {
    const tensor = this.engine.tensor([pattern.length]);
    tensor.data.set(pattern);
    this.#neighbours.push(tensor);
  }

  /** Leaves a gap between others' things, so that calls come to lie between them. */
  surround(floats: number): void {
    const gap = this.engine.tensor([floats]);
    this.#add();
    gap.free();
  }

  /** Throws where something of the others' has changed, or their calls give something else. */
  async check(): Promise<void> {
    for (const [at, { data }] of this.#neighbours.entries()) {
      assertSameBits(data, pattern, `neighbour ${at}`);
    }
    const now = await answersOf(this.engine, this.#cache);
    this.#answers ??= now;
    assertSameBits(now.out, this.#answers.out, "a call after it");
    assertSameBits(now.ofCache, this.#answers.ofCache, "a cache beside it");
  }
}
