/**
 * What every check has in common: how messages name things, and what a whole number is.
 *
 * @module
 */

import { elementOf, lengthOfArray, readOf } from "../tensor/arrays.ts";
import { hintOf } from "./hints.ts";

/** What the messages of a call begin with. */
export const cannot = "Cannot attend";

/** What a value is, in a message. */
export function kindOf(value: unknown): string {
  if (value === null) return "null";
  if (typeof value === "object" || typeof value === "function") {
    return value.constructor?.name ?? typeof value;
  }
  return typeof value === "string" ? JSON.stringify(value) : String(value);
}

/** Heads of all batches together, at most: something is kept for each, also where it has no rows. */
export const mostHeads = 2 ** 22;

/** Elements of a query, a key or a value, at most: tile memory of some of them is counted in 32 bits. */
export const mostDims = 2 ** 20;

export function isWhole(value: unknown): value is number {
  return Number.isSafeInteger(value);
}

export function isExtent(value: unknown): value is number {
  return isWhole(value) && value >= 0;
}

/** A short list of numbers whose elements nobody has read yet: its length is looked at before. */
export interface List {
  /** `[n]`; of a tensor, its shape. */
  readonly shape: readonly number[];
  /** How many there are. */
  readonly length: number;
  /** Whether they are in anything but a typed array of whole numbers. */
  readonly isFloat: boolean;
  /** One of them, the last axis fastest. Each is to be read once. */
  at(index: number): unknown;
}

/**
 * Numbers of a list, each read once by its index, so that a hole is seen. Stops at the first that is
 * wrong, since a list may say any length.
 *
 * @returns Those before the first that is wrong, and that one.
 */
export function readNumbers(
  list: List,
  isRight: (value: unknown, index: number, before: readonly number[]) => boolean,
  length = list.length,
): { readonly numbers: readonly number[]; readonly wrong?: { readonly value: unknown } } {
  const numbers: number[] = [];
  for (let index = 0; index < length; index++) {
    const value = list.at(index);
    if (!isRight(value, index, numbers)) return { numbers, wrong: { value } };
    numbers.push(value as number);
  }
  return { numbers };
}

/** Axes that a shape may be written with before it is called too long to read. */
const mostAxes = 32;

/**
 * An array of a few numbers, typed or not, as it is now: a plain array, each element read once;
 * `undefined` for anything else.
 */
export function readShort(list: unknown): unknown[] | undefined {
  const length = lengthOfArray(list), read: unknown[] = [];
  if (length === undefined) return undefined;
  for (let index = 0; index < Math.min(length, mostAxes); index++) {
    read.push(elementOf(list, index));
  }
  return read;
}

/**
 * What has nothing but what is written into it, whatever all objects have. What a constructor makes is read and
 * written several times as fast as what `Object.create(null)` gives.
 */
const Bare = function () {} as unknown as new () => object;
Bare.prototype = Object.create(null);

/** Objects that were read as one, without what some script may have given to all objects. */
export function bare<T extends object>(...parts: readonly Partial<T>[]): T {
  return Object.assign(new Bare(), ...parts);
}

/**
 * Options as they are now: each is read once, into an object that nobody else has.
 *
 * @param known The names that there are; another is refused.
 * @param unlisted Those of them that the call at hand refuses by a message of its own.
 */
export function readOptions<Options extends object>(
  options: Options,
  known: readonly (keyof Options & string)[],
  doing: string,
  unlisted: readonly string[] = [],
): Options {
  const own = checkKeys(options, known, doing, unlisted), read = bare<Options>();
  const above = Object.getPrototypeOf(options);
  // What a class or a prototype has is not among the keys, nor is what is not enumerable.
  const isPlain = (above === Object.prototype || above === Bare.prototype) &&
    Object.getOwnPropertyNames(options).length === own.length;
  for (const name of isPlain ? own as typeof known : known) {
    const value = readOf(options, name);
    if (value === undefined || (value === null && name === "signal")) continue; // As `fetch()` has it.
    if (name === "signal") checkSignal(value, doing);
    read[name] = value;
  }
  return read as Options;
}

/** By shape, not by class: signals also come from polyfills and other realms. */
function checkSignal(signal: unknown, doing: string): void {
  if (typeof (signal as AbortSignal | null)?.aborted === "boolean") return;
  throw new TypeError(`${doing}: \`signal\` must be an AbortSignal, got ${kindOf(signal)}`);
}

/** Checks that `value` is an object whose keys are all known; gives them. Of these messages name all but `unlisted`. */
export function checkKeys(
  value: object,
  known: readonly string[],
  doing: string,
  unlisted: readonly string[] = [],
): readonly string[] {
  if (typeof value !== "object" || value === null) {
    throw new TypeError(`${doing}: options must be an object, got ${kindOf(value)}`);
  }
  const keys = Object.keys(value);
  for (const key of keys) {
    if (known.includes(key)) continue;
    throw unknownOption(key, known.filter((name) => !unlisted.includes(name)), doing);
  }
  return keys;
}

/** What is said of an option that there is not. */
export function unknownOption(key: string, known: readonly string[], doing: string): TypeError {
  return new TypeError(
    `${doing}: unknown option \`${key}\`, known are ${known.join(", ")}${hintOf(key, known)}`,
  );
}

/** Checks that a value is one of a few. */
export function checkOneOf(
  name: string,
  value: unknown,
  allowed: readonly unknown[],
  doing = cannot,
): void {
  if (value === undefined || allowed.includes(value)) return;
  throw new TypeError(
    `${doing}: \`${name}\` must be one of ${allowed.map(kindOf).join(", ")}, got ${kindOf(value)}`,
  );
}

/** Checks the order of the axes. */
export function checkLayoutName(layout: unknown, doing = cannot): void {
  checkOneOf("layout", layout, ["bhnd", "bnhd"], doing);
}
