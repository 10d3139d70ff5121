// Jobs of performer attention, by their kinds.

import {
  PERFORMER_ADD, PERFORMER_ANSWER, PERFORMER_ATTEND, PERFORMER_KEYS_BACKWARD, PERFORMER_LEARN, PERFORMER_ROWS_BACKWARD,
  PerformerJob,
} from "../../records.gen";
import { differentiateKeys, differentiateRows } from "./backward";
import { packProjection } from "./features";
import { addParts, answerRows, attendRows, learnPart } from "./forward";
import { gradientWorkBytes } from "./gradient_work";
import { workBytes } from "./work";

export function performer(job: PerformerJob, scratch: usize): void {
  const kind = job.kind;
  if (kind == PERFORMER_LEARN) learnPart(job, scratch);
  else if (kind == PERFORMER_ADD) addParts(job, scratch);
  else if (kind == PERFORMER_ANSWER) answerRows(job, scratch);
  else if (kind == PERFORMER_ATTEND) attendRows(job, scratch);
  else if (kind == PERFORMER_ROWS_BACKWARD) differentiateRows(job, scratch);
  else if (kind == PERFORMER_KEYS_BACKWARD) differentiateKeys(job, scratch);
  else packProjection(job);
}

// Bytes of tile memory that a job needs.
export function performerScratch(job: PerformerJob): usize {
  return job.kind >= PERFORMER_ROWS_BACKWARD ? gradientWorkBytes(job) : workBytes(job);
}
