import { attentionWeights, tensor, type WeightsOptions } from "@flashtile/attention";
import { assert, assertEquals } from "@std/assert";
import { assertRefused } from "../support/errors.ts";
import { normals, seeded } from "../support/random.ts";
import { contract } from "./backends.ts";

const shape = [4, 10, 8];

function numbers(seed: number, of: readonly number[] = shape) {
  return tensor(normals(of.reduce((a, b) => a * b, 1), seeded(seed)), of);
}

const q = numbers(1), k = numbers(2, [2, 20, 8]);

/** Calls that are refused: what they ask, and what is said. */
const refusals: readonly (readonly [WeightsOptions, ErrorConstructor, string])[] = [
  [
    { rows: [3, 10] },
    RangeError,
    "Cannot attend: `rows` must be whole numbers that ascend, from 0 to before 10, got 10 at index 1",
  ],
  [
    { rows: [3, 3] },
    RangeError,
    "Cannot attend: `rows` must be whole numbers that ascend, from 0 to before 10, got 3 at index 1",
  ],
  [
    { rows: [0.5] },
    RangeError,
    "Cannot attend: `rows` must be whole numbers that ascend, from 0 to before 10, got 0.5 at index 0",
  ],
  [
    { rows: 3 as never },
    TypeError,
    "Cannot attend: `rows` must be whole numbers that ascend, from 0 to before 10, got 3",
  ],
  [
    { heads: [-1] },
    RangeError,
    "Cannot attend: `heads` must be whole numbers that ascend, from 0 to before 4, got -1 at index 0",
  ],
  [
    { keySums: "kv", heads: [0] },
    TypeError,
    'Cannot attend: `heads` are query heads, and `keySums: "kv"` sums over all of a group; leave one out',
  ],
  [
    { keySums: "all" as never },
    TypeError,
    'Cannot attend: `keySums` must be one of true, false, "kv", got "all"',
  ],
  [
    { lse: tensor(new Float32Array(9), [1, 9]) },
    RangeError,
    "Cannot attend: `lse` must have shape [4,10], got [1,9]",
  ],
];

contract(
  "attentionWeights() refuses bad input, takes no memory, and works afterwards",
  async (engine) => {
    const expected = await attentionWeights(q, k, { engine });
    const bytes = engine.memoryBytes;
    for (const [options, error, message] of refusals) {
      await assertRefused(() => engine.attentionWeights(q, k, options), error, message);
      assertEquals(engine.memoryBytes, bytes);
    }
    const { weights } = await engine.attentionWeights(q, k);
    assertEquals(weights, expected.weights);
  },
);

contract("attentionWeights() of no rows, and of no keys", async (engine) => {
  const { weights } = await engine.attentionWeights(q, k, { rows: [] });
  assertEquals([weights.shape, weights.data.length], [[4, 0, 20], 0]);
  const { keySums } = await engine.attentionWeights(q, k, { rows: [], keySums: true });
  assertEquals([keySums.shape, keySums.data], [[4, 20], new Float32Array(80)]);
  const none = await engine.attentionWeights(q, numbers(3, [2, 0, 8]), { keySums: true });
  assertEquals(none.keySums.shape, [4, 0]);
});

contract("attentionWeights() gives the memory back where its signal aborts", async (engine) => {
  await engine.attentionWeights(q, k, { keySums: true });
  const bytes = engine.memoryBytes, reason = new Error("enough");
  let caught: unknown;
  try {
    await engine.attentionWeights(q, k, { signal: AbortSignal.abort(reason) });
  } catch (error) {
    caught = error;
  }
  assertEquals(caught, reason);
  assertEquals(engine.memoryBytes, bytes);
});

contract("weights of many keys take linear memory, those of all rows' sums too", async (engine) => {
  const n = 4096, x = numbers(4, [1, n, 8]);
  const { lse } = await engine.attention(x, x, x, { causal: true, lse: true });
  const { keySums } = await engine.attentionWeights(x, x, { causal: true, lse, keySums: true });
  const total = keySums.data.reduce((a, b) => a + b, 0);
  assert(Math.abs(total - n) < n * 1e-5, `${total}`);
  assert(engine.memoryBytes < 12 * 2 ** 20 * Math.max(1, 3), `${engine.memoryBytes} bytes`);
}, { needs: "linearMemory" });
