/**
 * Attention with score and mask functions on Wasm, loaded with its kernels: `forward()`, whose jobs another program runs.
 *
 * @module
 */

import type { Runner } from "../../contract/runners.ts";
import { withOptions } from "../../operations/attention/known.ts";
import type { AttentionPlan } from "../../operations/attention/plan.ts";
import type { HostTarget, Target } from "../../operations/attention/target.ts";
import { forward, type FunctionJobs } from "../attention/forward.ts";
import { cutPlan } from "../attention/jobs.ts";
import type { HostPlan } from "../attention/run.ts";
import * as job from "../record/job.gen.ts";
import { JobRecord, keysPerPart } from "../record/job_record.ts";
import type { Machine } from "../team/machine.ts";
import type { Step } from "../team/steps.ts";
import { placeFunctions } from "./placed.ts";
import { prepareScored, scoredKernels, scoredProgram } from "./program.ts";

/** What a call's jobs are run by. */
export function jobsOf(machine: Machine, plan: HostPlan, address: number): FunctionJobs {
  const { kernels, arena } = machine;
  return {
    program: scoredProgram(machine),
    scratch(common) {
      const words = common.slice(), record = kernels.callRecord();
      new JobRecord(words).set(job.program, address);
      new Int32Array(arena.memory.buffer, record, words.length).set(words);
      return scoredKernels(machine).scratchBytes(record) >>> 0;
    },
    write(record, { segment, keyHead }, { member, from, part }) {
      const { batch, queries, keys, rowsBefore = 0 } = plan.segments[segment];
      const { keysBefore, headsBefore } = plan.functions!;
      record.set(job.program, address);
      record.set(job.batch, plan.packed ? segment : batch);
      record.set(job.head, headsBefore + keyHead * plan.group + member);
      // With a cache, by its place in the sequence, whose last tokens the queries are.
      record.set(job.firstRow, rowsBefore + from + (plan.kv.kind === "pages" ? keys - queries : 0));
      record.set(job.firstKey, keysBefore + part * keysPerPart);
    },
  };
}

function* attend(machine: Machine, given: HostPlan, target: HostTarget): Generator<Step> {
  const plan = withOptions(given);
  if (plan.functions === null) return yield* forward(machine, plan, target);
  const { tiles } = cutPlan(plan, machine.threads);
  const placed = placeFunctions(machine.arena, scoredKernels(machine), plan.functions, tiles);
  try {
    yield* forward(machine, plan, target, undefined, jobsOf(machine, plan, placed.address));
  } finally {
    placed.free();
  }
}

/** The runner. */
export const runner: Runner<Machine, AttentionPlan, Target, Iterable<Step>> = {
  prepare: prepareScored,
  isReady: (machine) => scoredProgram(machine) > 0,
  run: (machine, plan, target) => attend(machine, plan as HostPlan, target as HostTarget),
};
