/**
 * The shards that a coordinator works with, and whether they live.
 *
 * @module
 */

/** A shard. */
export interface Member {
  /** Another number each time that it is started. */
  readonly identity: number;
  readonly name: string;
  readonly group: number;
  /** Times in a row that it was asked whether it lives, without any word from it. */
  strikes: number;
}

/** Strikes after which a shard is out. */
const mostStrikes = 3;

/** Shards by their numbers. */
export class Members {
  readonly #members = new Map<number, Member>();

  constructor(members: readonly Member[] = []) {
    for (const member of members) this.#members.set(member.identity, member);
  }

  get all(): readonly Member[] {
    return [...this.#members.values()];
  }

  find(identity: number): Member | undefined {
    return this.#members.get(identity);
  }

  /** Those of a group. */
  of(group: number): Member[] {
    return this.all.filter((member) => member.group === group);
  }

  /** Counts a strike for each that lives, before they are asked. */
  strike(): void {
    for (const member of this.all) if (!isOut(member)) member.strikes++;
  }
}

/** Whether a shard has not been heard of for so long that it counts as lost. It stays so until the cache is restored. */
export function isOut({ strikes }: Member): boolean {
  return strikes > mostStrikes;
}
