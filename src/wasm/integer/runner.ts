/**
 * Attention by integers on Wasm, loaded with its kernels: `forward()`, whose heads become integers once they are
 * packed, and whose jobs another program runs.
 *
 * @module
 */

import type { Runner } from "../../contract/runners.ts";
import type { Precision } from "../../operations/attention/options.ts";
import type { AttentionPlan } from "../../operations/attention/plan.ts";
import type { HostTarget, Target } from "../../operations/attention/target.ts";
import { forward, type Integers } from "../attention/forward.ts";
import type { HostPlan } from "../attention/run.ts";
import * as job from "../record/job.gen.ts";
import { JobRecord, type Words } from "../record/job_record.ts";
import type { Machine } from "../team/machine.ts";
import type { Step } from "../team/steps.ts";
import { dots, measureDots } from "./dots.ts";
import { integerKernels, integerProgram, prepareIntegers } from "./program.ts";

/** What is bytes, as a job's record says it: 1 keys, 2 values. `asm/integer/head.ts` has the same. */
const bytesOf: Record<Precision, number> = { f32: 0, int16: 0, "int8-qk": 1, int8: 3 };

/** Keys of a tile, and of those whose values share a scale, at most. */
const mostTileKeys = 128;

/** What a call's jobs are run by. */
function integersFor(machine: Machine, { precision, kv }: HostPlan, common: Words): Integers {
  const { kernels, arena: { memory } } = machine, own = integerKernels(machine);
  const record = kernels.callRecord();
  // No tile crosses a block of a cache.
  const tileKeys = Math.min(mostTileKeys, kv.kind === "pages" ? kv.store.blockTokens : Infinity);
  const write = (record: JobRecord, at: number) => {
    record.set(job.integers, at);
    record.set(job.precision, bytesOf[precision]);
    record.set(job.fused, Number(dots.areFused));
    record.set(job.tileKeys, tileKeys);
  };
  const tell = (words: Words, at = 0) => {
    write(new JobRecord(words), at);
    new Int32Array(memory.buffer, record, words.length).set(words);
  };
  const ofKeys = (keys: number) => {
    const words = common.slice();
    new JobRecord(words).set(job.keys, keys);
    return words;
  };
  tell(common.slice());
  return {
    program: integerProgram(machine),
    scratch: own.scratchBytes(record) >>> 0,
    bytes(keys) {
      tell(ofKeys(keys));
      return own.integerBytes(record) >>> 0;
    },
    make(words, at, scratch) {
      tell(words, at);
      own.quantize(record, scratch);
    },
    write,
  };
}

/** Loads the program, and finds out how it multiplies bytes. */
async function prepare(machine: Machine): Promise<void> {
  await prepareIntegers(machine);
  await measureDots();
}

/** The runner. */
export const runner: Runner<Machine, AttentionPlan, Target, Iterable<Step>> = {
  prepare,
  isReady: (machine) => integerProgram(machine) > 0,
  run(machine, given, target) {
    const plan = given as HostPlan;
    return forward(
      machine,
      plan,
      target as HostTarget,
      (common) => integersFor(machine, plan, common),
    );
  },
};
