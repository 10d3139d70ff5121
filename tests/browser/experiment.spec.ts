import { test } from "node:test";
import { assertEquals, assertLess, assertRejects } from "@std/assert";
import {
  type AttentionOptions,
  createEngine,
  DeviceLostError,
  type Tensor,
} from "@flashtile/attention";
import {
  type Listener,
  type Measurement,
  runExperiment,
  type Runner,
} from "../../examples/browser/experiment.ts";
import { longTest } from "../support/share.ts";

const settings = { heads: 1, dim: 8, causal: true, largest: 256 };
const { signal } = new AbortController();

/** Keeps what it is told. */
class Notes implements Listener {
  readonly measurements: Measurement[] = [];
  readonly troubles: string[] = [];
  done = 0;

  progress(_words: string, done: number): void {
    this.done = done;
  }

  measured(measurement: Measurement): void {
    this.measurements.push(measurement);
  }

  trouble(backend: string, words: string): void {
    this.troubles.push(`${backend}: ${words}`);
  }
}

/** A backend that fails at some of its calls; before these it does what `wasm` does. */
function failing(wasm: Runner, error: Error, calls: readonly number[]): Runner {
  let call = 0;
  const attention = (q: Tensor, k: Tensor, v: Tensor, options?: AttentionOptions) =>
    calls.includes(call++) ? Promise.reject(error) : wasm.attention(q, k, v, options);
  return { backend: "webgpu", attention: attention as Runner["attention"] };
}

async function runWith(error: Error): Promise<Notes> {
  const notes = new Notes();
  await using wasm = await createEngine({ backend: "wasm", threads: 1 });
  await runExperiment(settings, [failing(wasm, error, [0]), wasm], notes, signal);
  return notes;
}

function lengthsOn(backend: string, { measurements }: Notes): number[] {
  return measurements.filter((one) => one.backend === backend).map(({ length }) => length);
}

longTest(
  "runExperiment() measures every length and compares it with the oracle",
  async () => {
    const notes = new Notes();
    await using wasm = await createEngine({ backend: "wasm", threads: 1 });
    await runExperiment(settings, [wasm], notes, signal);
    assertEquals(lengthsOn("wasm", notes), [64, 128, 256]);
    for (const { difference } of notes.measurements) assertLess(difference, 5e-6);
    assertEquals(notes.troubles, []);
    assertLess(notes.done, 1);
  },
);

longTest(
  "runExperiment() goes on with a backend that lost its device",
  async () => {
    const notes = await runWith(new DeviceLostError("unplugged"));
    assertEquals(notes.troubles, ["webgpu: N = 64: Lost the GPU device: unplugged"]);
    assertEquals(lengthsOn("webgpu", notes), [128, 256]);
    assertEquals(lengthsOn("wasm", notes), [64, 128, 256]);
  },
);

longTest(
  "runExperiment() goes on without a backend that fails",
  async () => {
    const notes = await runWith(new Error("broken"));
    assertEquals(notes.troubles, ["webgpu: N = 64: broken"]);
    assertEquals(lengthsOn("webgpu", notes), []);
    assertEquals(lengthsOn("wasm", notes), [64, 128, 256]);
  },
);

test("runExperiment() rejects with the signal's reason", async () => {
  const signal = AbortSignal.abort(new Error("enough"));
  await assertRejects(() => runExperiment(settings, [], new Notes(), signal), Error, "enough");
});
