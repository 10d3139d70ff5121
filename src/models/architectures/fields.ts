/**
 * Reads the fields of a config: whatever is wrong is kept, and told all at once.
 *
 * @module
 */

import { kindOf } from "../../check/words.ts";

/** A parsed `config.json`. */
export type Config = Readonly<Record<string, unknown>>;

/** Fields by their names, `null` being as nothing. */
export class Fields {
  /** What is wrong with them. */
  readonly problems: string[] = [];

  constructor(readonly config: Config) {}

  /** The first of some names that is there. */
  given(...names: readonly string[]): unknown {
    for (const name of names) {
      const value = Object.hasOwn(this.config, name) ? this.config[name] : undefined;
      if ((value ?? null) !== null) return value;
    }
    return undefined;
  }

  #number(
    names: readonly string[],
    otherwise: number | undefined,
    isRight: (value: unknown) => boolean,
    what: string,
  ): number {
    const value = this.given(...names) ?? otherwise;
    if (isRight(value)) return value as number;
    this.problems.push(`\`${names[0]}\` must be ${what}, got ${kindOf(value)}`);
    return NaN;
  }

  /** A whole number from 1 on, by whichever name it has. */
  count(names: readonly string[], otherwise?: number): number {
    const isCount = (value: unknown) => Number.isSafeInteger(value) && value as number >= 1;
    return this.#number(names, otherwise, isCount, "a whole number from 1 on");
  }

  /** A number above 0. */
  positive(names: readonly string[], otherwise?: number): number {
    const isPositive = (value: unknown) => Number.isFinite(value) && value as number > 0;
    return this.#number(names, otherwise, isPositive, "a number above 0");
  }

  /** A number above 0, or nothing. */
  optional(...names: readonly string[]): number | undefined {
    return this.given(...names) === undefined ? undefined : this.positive(names);
  }

  /** The id of a token, or nothing; of several the first. */
  id(name: string): number | undefined {
    return this.ids(name)[0];
  }

  /** Ids of tokens: one, several or none. */
  ids(name: string): number[] {
    const ids = [this.given(name) ?? []].flat();
    const wrong = ids.find((id) => !Number.isSafeInteger(id) || id as number < 0);
    if (wrong === undefined) return ids as number[];
    this.problems.push(`\`${name}\` must be a token's id, got ${kindOf(wrong)}`);
    return [];
  }

  isTrue(name: string): boolean {
    return this.given(name) === true;
  }
}
