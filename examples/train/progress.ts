/**
 * How far a training is, on a terminal.
 *
 * @module
 */

// @ts-types="npm:@types/cli-progress@3.11.6"
import { SingleBar } from "cli-progress";
import type { Step } from "./train.ts";

/** Shows how far a training is. */
export interface Progress {
  /** A training of so many steps begins. */
  begin(steps: number): void;
  /** A step is done. */
  update(step: Step): void;
  /** The training is over, well or not. */
  end(): void;
}

/**
 * A bar where there is a terminal; elsewhere, as in a file, a line for each look at the text that was
 * held out.
 *
 * @param stream Where it is shown.
 */
export function createProgress(stream: NodeJS.WriteStream): Progress {
  return stream.isTTY ? bar(stream) : lines(stream);
}

function bar(stream: NodeJS.WriteStream): Progress {
  const shown = new SingleBar({
    stream,
    format: "{bar} {value}/{total} steps | loss {loss} | held out {heldOut} | {eta_formatted} left",
    barCompleteChar: "\u2588",
    barIncompleteChar: "\u2591",
    barsize: 20,
    // What an interruption would leave switched off stays as it is; the line has less than 80 columns.
    hideCursor: false,
    linewrap: true,
  });
  return {
    begin: (steps) => shown.start(steps, 0, { loss: "-", heldOut: "-" }),
    update: ({ step, loss, heldOut }) =>
      shown.update(step, {
        loss: loss.toFixed(3),
        ...(heldOut !== undefined && { heldOut: heldOut.toFixed(3) }),
      }),
    end: () => shown.stop(),
  };
}

function lines(stream: NodeJS.WriteStream): Progress {
  return {
    begin: () => {},
    update: ({ step, loss, heldOut }) => {
      if (heldOut === undefined) return;
      stream.write(`step ${step}: loss ${loss.toFixed(3)}, held out ${heldOut.toFixed(3)}\n`);
    },
    end: () => {},
  };
}
