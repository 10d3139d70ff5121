/**
 * Full pages go from one group to another: who gets them fetches them first, takes them by a change, and by the next
 * change who had them drops them. So whatever goes wrong in between, somebody has them.
 *
 * @module
 */

import { type KvCache, storeOf } from "../../cache/kv_cache.ts";
import { placingOf, readPages, removePages, savePages } from "../../cache/moving.ts";
import type { SavedCache } from "../../cache/format.ts";
import type { Change } from "../../cache/sequences.ts";
import { reasonOf } from "../../check/errors.ts";
import type { SequencePages } from "../messages/bodies.ts";
import { Refusal } from "../refusal.ts";
import type { OwnPages } from "./pages.ts";

/** What a group has of all sequences. */
export interface HeldPages {
  /** By layer. */
  readonly caches: readonly KvCache[];
  /** By sequence. */
  readonly pages: readonly OwnPages[];
}

/** Whether a value is a list of numbers of pages, each above the one before. */
export function isAscending(pages: unknown): pages is number[] {
  return Array.isArray(pages) &&
    pages.every((page, at) =>
      Number.isSafeInteger(page) && page >= (at === 0 ? 0 : pages[at - 1] + 1)
    );
}

/** Checks that the first so many pages of a sequence are full in every layer. */
function checkLengths({ caches }: HeldPages, sequence: number, count: number): void {
  for (const { lengths, options: { pageSize } } of caches) {
    if (lengths[sequence] >= count * pageSize) continue;
    throw new Refusal("shape", `${count} pages of sequence ${sequence} are not full in all layers`);
  }
}

function ownOf({ pages }: HeldPages, { sequence, pages: moved }: SequencePages): OwnPages {
  if (sequence < pages.length && isAscending(moved)) return pages[sequence];
  throw new Refusal("shape", `sequences are ${pages.length}, pages are named in ascending order`);
}

/** Checks that pages are here, and full. @returns Where they are among those of the sequence. */
export function checkFull(held: HeldPages, only: SequencePages): number[] {
  const own = ownOf(held, only), { sequence, pages } = only;
  const missing = pages.find((page) => !own.has(page));
  if (missing !== undefined) {
    throw new Refusal("shape", `page ${missing} of sequence ${sequence} is not here`);
  }
  const places = pages.map((page) => own.placeOf(page));
  checkLengths(held, sequence, 1 + Math.max(-1, ...places));
  return places;
}

/** Bytes of pages in a layer. */
export function fullPages(
  held: HeldPages,
  layer: number,
  only: SequencePages,
): Promise<Uint8Array> {
  return savePages(held.caches[layer], only.sequence, checkFull(held, only));
}

/** Pages leave. */
export function dropPages(held: HeldPages, only: SequencePages): void {
  const places = checkFull(held, only);
  for (const cache of held.caches) removePages(cache, only.sequence, places);
  held.pages[only.sequence].remove(only.pages);
}

/** Pages that were fetched: nothing keeps them from being taken any more. */
export class FetchedPages {
  readonly #held: HeldPages;
  readonly #only: SequencePages;
  readonly #before: readonly number[];
  readonly #changes: Change[] = [];

  /** @throws {Refusal} When there is no place for them. */
  constructor(held: HeldPages, only: SequencePages) {
    const own = ownOf(held, only), { sequence, pages } = only;
    const there = pages.find((page) => own.has(page));
    if (there !== undefined) {
      throw new Refusal("shape", `page ${there} of sequence ${sequence} is here already`);
    }
    this.#held = held;
    this.#only = only;
    this.#before = pages.map((page) => own.placeOf(page));
    checkLengths(held, sequence, Math.max(0, ...this.#before));
  }

  /** Bytes that they need, in all layers. */
  get bytes(): number {
    const each = (cache: KvCache) => this.#before.length * storeOf(cache).bytesPerPage;
    return this.#held.caches.reduce((sum, cache) => sum + each(cache), 0);
  }

  /** Whether it is these. */
  are({ sequence, pages }: SequencePages): boolean {
    const { sequence: own, pages: those } = this.#only;
    return own === sequence && those.length === pages.length &&
      those.every((page, at) => page === pages[at]);
  }

  /** Gets them, layer by layer, or leaves everything as it was. @param name Whose, for messages. */
  async get(pull: (layer: number) => Promise<Uint8Array>, name: string): Promise<void> {
    try {
      for (const [layer, cache] of this.#held.caches.entries()) {
        this.#place(cache, await pull(layer), name);
      }
    } catch (error) {
      this.drop();
      throw error;
    }
  }

  #place(cache: KvCache, bytes: Uint8Array, name: string): void {
    const saved = this.#read(cache, bytes);
    try {
      this.#changes.push(placingOf(cache, this.#only.sequence, this.#before, saved));
    } catch (error) {
      throw new Refusal("full", `${name} is full: ${reasonOf(error)}`);
    }
  }

  #read(cache: KvCache, bytes: Uint8Array): SavedCache {
    try {
      return readPages(cache, bytes, this.#before.length);
    } catch (error) {
      throw new Refusal("failed", reasonOf(error));
    }
  }

  /** They are the group's. */
  take(own: OwnPages): void {
    for (const { make } of this.#changes.splice(0)) make();
    own.insert(this.#only.pages);
  }

  /** Their memory goes back. */
  drop(): void {
    for (const { drop } of this.#changes.splice(0)) drop();
  }
}
