/**
 * What the main process asks of a child, and what the child answers: one line of JSON each,
 * appended to a file as it becomes known, so that a crash loses nothing of what came before.
 *
 * @module
 */

import type { DecodingShape } from "./decoding.ts";
import type { Shape } from "./problem.ts";

/** How long things may take. */
export interface Bounds {
  /** Turns of each peer in a race, at most. */
  readonly rounds: number;
  /** Milliseconds after which a peer takes no more turns in a race; it has two at least. */
  readonly perPeer: number;
  /** Milliseconds of rest before a turn; a few by default. */
  readonly rest?: number;
}

/** Time peers in turn on one shape. */
export interface RaceOrder {
  readonly kind: "race";
  readonly shape: Shape;
  /** Names of peers, FlashTile first. */
  readonly peers: readonly string[];
}

/** Take time and memory of one peer at one shape. */
export interface SizeOrder {
  readonly kind: "size";
  readonly shape: Shape;
  readonly peer: string;
}

/** Time decoders in turn on one shape. */
export interface DecodingOrder {
  readonly kind: "decoding";
  readonly shape: DecodingShape;
  /** Names of decoders, FlashTile first. */
  readonly peers: readonly string[];
}

/** Time training steps in turn on one shape. */
export interface GradientOrder {
  readonly kind: "gradients";
  readonly shape: Shape;
  /** Names of trainers, FlashTile first. */
  readonly peers: readonly string[];
}

/** An order to a child. */
export type Order = (RaceOrder | SizeOrder | DecodingOrder | GradientOrder) & {
  readonly threads: number;
  readonly bounds: Bounds;
  /** Folder with the peers' packages. */
  readonly folder: string;
};

/** An answer of a child. */
export type Answer =
  /** Which runtime answers. */
  | { readonly kind: "runtime"; readonly runtime: string }
  /** Work on a peer begins: it is to blame if no more comes. */
  | { readonly kind: "at"; readonly peer: string }
  | { readonly kind: "failed" | "refused"; readonly peer: string; readonly reason: string }
  /** Milliseconds of each turn in a race; a turn that was not taken is left out at the end. */
  | {
    readonly kind: "raced";
    readonly peer: string;
    readonly milliseconds: readonly number[];
    readonly error: number;
  }
  | {
    readonly kind: "sized";
    readonly peer: string;
    /** The fastest of some calls. */
    readonly milliseconds: number;
    /** Growth of resident memory during the first call, result included. */
    readonly bytes: number;
    readonly error: number;
  }
  | { readonly kind: "done" };
