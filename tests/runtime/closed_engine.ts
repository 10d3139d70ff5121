/**
 * Engines that are closed: while idle, with a call under way, and by `await using`'s own method.
 * Nothing of them must keep the process alive, and no rejection must be left unhandled.
 *
 * @module
 */

import { createEngine, type Engine, tensor } from "@flashtile/attention";

const shape = [8, 512, 64]; // Enough work that workers are woken.
const ones = tensor(new Float32Array(8 * 512 * 64).fill(1), shape);

async function attend(engine: Engine): Promise<void> {
  const { out } = await engine.attention(ones, ones, ones);
  if (out.data.some((x) => Math.abs(x - 1) > 1e-5)) throw new Error("A mean of ones is not 1");
}

const idle = await createEngine({ threads: 3 });
await attend(idle);
await idle.close();

const unused = await createEngine({ threads: 2 });
await unused[Symbol.asyncDispose]();

const busy = await createEngine({ threads: 2 });
await attend(busy);
const calls = [attend(busy), attend(busy)].map((call) =>
  call.then(() => "an answer", (error: Error) => error.message)
);
await busy.close();
for (const end of await Promise.all(calls)) {
  if (end !== "Cannot use an engine after `close()`") throw new Error(`A call ended with ${end}`);
}
