/**
 * What the bench finds, as it stands in `bench/results/`, and the events that tell of it.
 *
 * @module
 */

import type { Tile } from "../../src/webgpu/attention/variants.ts";
import type { Machine } from "../machine.ts";
import type { Shape } from "../peers/problem.ts";
import type { BenchDType } from "./data.ts";
import type { Times } from "./timing.ts";

/** What is wanted of a runtime. */
export interface Order {
  readonly quick: boolean;
  readonly attention: boolean;
  readonly search: boolean;
  /** Text of `matmul.wgsl`. */
  readonly matmul: string;
}

/** Who computes. */
export interface Device {
  readonly adapter: string;
  /** Computes on the CPU: the sizes are then small, and the figures say nothing. */
  readonly software: boolean;
  readonly quick: boolean;
  readonly features: readonly string[];
  readonly limits: Readonly<Record<string, number>>;
}

/** A matrix product's speed. */
export interface Ceiling {
  readonly name: string;
  readonly size: number;
  readonly milliseconds: number;
  readonly gflops: number;
}

/** The library's speed at a shape. */
export interface Timed {
  readonly shape: Shape;
  readonly dtype: BenchDType;
  readonly times: Times;
  /** Of the keys that are seen. */
  readonly gflops: number;
  /** Of the ceiling. */
  readonly share: number;
  /** Largest error against the oracle in the rows that were looked at. */
  readonly error: number;
}

/** A tile of the search. */
export interface Candidate {
  readonly tile: Tile;
  /** Whether it is the one in the table now. */
  readonly chosen: boolean;
  /** By element type. */
  readonly gflops: Readonly<Record<BenchDType, number>>;
  /** Geometric mean of the speeds over those of the chosen one. */
  readonly factor: number;
}

/** What the search found for a tile of the table; the fastest last. */
export interface Search {
  /** Name in the table. */
  readonly name: string;
  /** What was computed, in words. */
  readonly problem: string;
  readonly candidates: readonly Candidate[];
  /** Those that gave no figure. */
  readonly missing: readonly { readonly tile: Tile; readonly reason: string }[];
}

/** Against onnxruntime-web, in turns on the same device and the same buffers. */
export interface Race {
  /** What of onnxruntime-web is imported. */
  readonly peer: string;
  readonly shape: Shape;
  readonly dtype: BenchDType;
  readonly ours: Times;
  readonly theirs: Times;
  /** How often theirs takes the time of ours: above 1 we are faster. */
  readonly ratio: { readonly median: number; readonly lowest: number; readonly highest: number };
  /** Largest difference of the two results. */
  readonly difference: number;
}

/** What gave no figure, and why. */
export interface Missing {
  readonly what: string;
  readonly reason: string;
}

/** Told as it is found. */
export type Event =
  | { readonly kind: "runtime"; readonly runtime: string }
  | { readonly kind: "device"; readonly device: Device }
  | { readonly kind: "ceilings"; readonly ceilings: readonly Ceiling[] }
  | { readonly kind: "timed"; readonly timed: Timed }
  | { readonly kind: "search"; readonly search: Search }
  | { readonly kind: "race"; readonly race: Race }
  | { readonly kind: "missing"; readonly missing: Missing };

/** Takes events. */
export type Tell = (event: Event) => void | Promise<void>;

/** Everything that one runtime found. */
export interface Run {
  runtime: string;
  device?: Device;
  readonly ceilings: Ceiling[];
  readonly timed: Timed[];
  readonly searches: Search[];
  readonly races: Race[];
  readonly missing: Missing[];
}

/** Everything. */
export interface Report {
  readonly machine: Machine;
  readonly flashtile: string;
  readonly runs: readonly Run[];
}

/** A run that has found nothing yet. */
export function newRun(runtime: string): Run {
  return { runtime, ceilings: [], timed: [], searches: [], races: [], missing: [] };
}

/** Keeps what an event tells. */
export function keep(run: Run, event: Event): void {
  if (event.kind === "runtime") run.runtime = event.runtime;
  else if (event.kind === "device") run.device = event.device;
  else if (event.kind === "ceilings") run.ceilings.push(...event.ceilings);
  else if (event.kind === "timed") run.timed.push(event.timed);
  else if (event.kind === "search") run.searches.push(event.search);
  else if (event.kind === "race") run.races.push(event.race);
  else run.missing.push(event.missing);
}

/** An error in one line. */
export function reasonOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.replace(/\s+/g, " ").trim().slice(0, 300);
}
