import { type Decoder, loadDecoder } from "@flashtile/attention/models";
import { assert, assertEquals, assertInstanceOf } from "@std/assert";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { decode } from "../../src/sharded/messages/message.ts";
import { Cluster, engine } from "../support/cluster.ts";
import { errorOf } from "../support/errors.ts";
import { once } from "../support/once.ts";
import { seeded } from "../support/random.ts";
import { varyingSeed } from "../support/seed.ts";
import { longTest } from "../support/share.ts";

const folder = "examples/llama/model/";

const model = once(async (): Promise<Decoder> => {
  const config = JSON.parse(readFileSync(`${folder}config.json`, "utf8"));
  const weights = new Uint8Array(readFileSync(`${folder}model.safetensors`));
  return await loadDecoder({ config, weights }, { engine: await engine() });
});

/** As the demo's model needs it; pages so small that all groups have some. */
const ofModel = { layers: 4, batch: 2, kvHeads: 2, headDim: 32, valueDim: undefined, pageSize: 16 };

function assertNear(given: Float32Array, expected: Float32Array, what: string): void {
  const off = expected.reduce((most, x, at) => Math.max(most, Math.abs(x - given[at])), 0);
  assert(off <= 3e-5, `${what} is off by ${off}`);
}

longTest(
  "a session on a sharded cache gives what one on this machine gives",
  async () => {
    const decoder = await model(), cluster = new Cluster(seeded(varyingSeed()));
    await cluster.startAll(3);
    const cache = await cluster.coordinate({ groups: 3, ...ofModel });
    const remote = decoder.session({ cache }), local = decoder.session({ batch: 2 });
    const ids = [...new TextEncoder().encode("In the beginning God created the heaven and")];
    assertNear(await remote.prefill(ids), await local.prefill(ids), "a prompt");
    assertNear(
      await remote.prefill(ids.slice(3, 9), 1),
      await local.prefill(ids.slice(3, 9), 1),
      "1",
    );
    const step = async (ids: (number | null)[], what: string) =>
      assertNear((await remote.step(ids)).data, (await local.step(ids)).data, what);
    await step([32, 101], "a step");
    await step([null, 102], "a step of one");
    await remote.truncate(0, 20);
    local.truncate(0, 20);
    await remote.fork(0, 1);
    local.fork(0, 1);
    await step([103, 104], "a step after a fork");
    assertEquals(remote.lengths, local.lengths);
    await cluster.end();
    local.free();
  },
);

test("a session is as it was where a pass fails or is aborted", async () => {
  const decoder = await model(), cluster = new Cluster(seeded(varyingSeed()));
  await cluster.startAll(1);
  const cache = await cluster.coordinate({ groups: 1, ...ofModel });
  const session = decoder.session({ cache }), before = await session.prefill([1, 2, 3]);
  const controller = new AbortController(), reason = new Error("enough");
  let layers = 0;
  cluster.network.told = ({ data, subject }) => {
    // In the middle of the pass: two layers have the tokens.
    if (subject.endsWith("all") && decode(data)?.kind === "step" && ++layers === 3) {
      controller.abort(reason);
    }
  };
  const error = await errorOf(() => session.prefill([4, 5, 6], 0, { signal: controller.signal }));
  assertEquals(error, reason);
  assertEquals(session.lengths, [3, 0]);
  for (let layer = 0; layer < 4; layer++) assertEquals(cache.lengthsOf(layer), [3, 0]);
  await session.truncate(0, 2);
  assertNear(await session.prefill([3]), before, "the same again");
  await cluster.end();
});

test("a session refuses a cache of other sizes, and options beside it", async () => {
  const decoder = await model(), cluster = new Cluster(seeded(varyingSeed()));
  await cluster.startAll(1);
  const cache = await cluster.coordinate({ groups: 1, ...ofModel, layers: 3 });
  const refused = await errorOf(() => decoder.session({ cache }));
  assertInstanceOf(refused, RangeError);
  assertEquals(
    (refused as Error).message,
    "Cannot begin a session: the model has layers 4, the cache 3",
  );
  assertInstanceOf(await errorOf(() => decoder.session({ cache: {} as never })), TypeError);
  assertInstanceOf(await errorOf(() => decoder.session({ cache, batch: 2 } as never)), TypeError);
  await cluster.end();
});
