/**
 * Pages of a cache on the GPU: a pool of keys and one of values, in which a page has the same number.
 * What is appended stays where it is, but when the pools have to grow.
 *
 * @module
 */

import { DeviceLostError, reasonOf } from "../../check/errors.ts";
import {
  type Page,
  type PageLayout,
  PageLedger,
  type PageStore,
  type Tokens,
} from "../../contract/pages.ts";
import { roles } from "../device/buffers.ts";
import type { Session } from "../device/session.ts";
import { Loan, readMapped, Submission } from "../device/submission.ts";
import { gatherBytes } from "../transfer/upload.ts";
import { PagePool, type Rows } from "./pool.ts";

/** Bytes of a first pool, where so many may come to be needed. */
const firstBytes = 256 * 1024;

/** Pages in buffers. */
export class WebGpuPages implements PageStore {
  readonly layout: PageLayout;
  readonly bytesPerPage: number;
  readonly keys: PagePool;
  readonly values: PagePool;
  readonly #session: Session;
  readonly #freed: () => void;
  readonly #ledger = new PageLedger();
  readonly #mostPages: number;
  /** Pages that the pools have room for, and that have been given a number. */
  #room = 0;
  #made = 0;
  /** Room for what is copied: within one buffer nothing can be. */
  #scratch: GPUBuffer | undefined;
  /** What is not submitted yet. */
  #submission: Submission;
  /** Bytes that wait to be uploaded. */
  #waiting = 0;
  #isFreed = false;
  #failure: Error | undefined;
  #flushed: Promise<void> = Promise.resolve();

  /** `mostPages` is how many the cache can come to need; `freed` is told when it needs none. */
  constructor(session: Session, layout: PageLayout, mostPages: number, freed: () => void) {
    this.layout = layout;
    this.#session = session;
    this.#freed = freed;
    this.#submission = new Submission(session, "pages");
    this.keys = new PagePool(session, layout, layout.headDim, layout.smoothKeys);
    this.values = new PagePool(session, layout, layout.valueDim, false);
    this.bytesPerPage = this.keys.pageBytes + this.values.pageBytes;
    this.#mostPages = Math.min(mostPages, this.#boundPages);
  }

  /** Bytes of the buffers. */
  get bytes(): number {
    return this.keys.bytes + this.values.bytes + (this.#scratch?.size ?? 0);
  }

  /** Pages that a shader can be given. */
  get #boundPages(): number {
    const most = Math.max(this.keys.pageBytes, this.values.pageBytes);
    return Math.floor(this.#session.bounds.bindingBytes / most);
  }

  take(): Page {
    this.open();
    return this.#ledger.take((used) => this.#attempt(() => this.#clear(used)), () => {
      if (this.#made === this.#room) this.#grow();
      return this.#made++;
    });
  }

  give(page: Page): void {
    this.#ledger.give(page);
  }

  check(pages: readonly Page[]): void {
    this.#ledger.check(pages);
  }

  begin(page: Page, { k, ...which }: Tokens): void {
    this.open();
    this.check([page]);
    if (!this.layout.smoothKeys) return;
    this.flush();
    this.#attempt(() =>
      this.#put(() => {
        for (const rows of this.#portions(which)) {
          this.keys.put(page, 0, k, rows);
          const isFirst = rows.from === which.from;
          this.keys.dispatch(this.#submission, { rows: which.to - which.from, isFirst });
          this.#submit();
        }
      })
    );
  }

  inherit(from: Page, to: Page): void {
    this.open();
    this.check([from, to]);
    if (!this.layout.smoothKeys) return;
    this.#writeFirst();
    const { pageBytes, meanBytes } = this.keys;
    this.#attempt(() => this.#copy(this.keys, from * pageBytes, to * pageBytes, meanBytes));
  }

  write(page: Page, slot: number, tokens: Tokens): void {
    this.open();
    this.#checkSlots(page, slot, tokens.to - tokens.from);
    const { k, v, ...which } = tokens;
    this.#put(() => {
      for (const rows of this.#portions(which)) {
        const at = slot + rows.from - which.from;
        this.#waiting += this.keys.put(page, at, k, rows) + this.values.put(page, at, v, rows);
        if (this.#waiting >= gatherBytes) this.flush();
      }
    });
  }

  copyPage(from: Page, to: Page): void {
    this.open();
    this.check([from, to]);
    this.#writeFirst();
    this.#attempt(() => {
      for (const pool of [this.keys, this.values]) {
        this.#copy(pool, from * pool.pageBytes, to * pool.pageBytes, pool.pageBytes);
      }
    });
  }

  copyTokens(from: Page, source: number, to: Page, target: number, count: number): void {
    this.open();
    this.#checkSlots(from, source, count);
    this.#checkSlots(to, target, count);
    this.#writeFirst();
    this.#attempt(() => {
      for (const pool of [this.keys, this.values]) {
        const bytes = pool.bytesOf(count);
        for (let head = 0; head < this.layout.kvHeads; head++) {
          this.#copy(pool, pool.byteAt(from, head, source), pool.byteAt(to, head, target), bytes);
        }
      }
    });
  }

  async read(page: Page, tokens: number = this.layout.pageSize): Promise<Uint8Array> {
    this.open();
    this.check([page]);
    const { gpu } = this.#session, loan = new Loan(this.#session);
    const target = await loan.take(this.bytesPerPage, roles.readBack, "a page on its way back");
    try {
      this.open(); // It may be so no more.
      this.#writeFirst();
      this.#attempt(() => {
        let at = 0;
        for (const { buffer, pageBytes } of [this.keys, this.values]) {
          this.#submission.copy(buffer, page * pageBytes, target, at, pageBytes);
          at += pageBytes;
        }
        this.#submit();
      });
      await this.finish();
      const bytes = new Uint8Array(this.bytesPerPage);
      await readMapped(gpu, target, bytes.length, (read) => bytes.set(new Uint8Array(read)));
      this.#clearBehind(bytes, tokens);
      return bytes;
    } catch (error) {
      this.open(); // Says what else was lost.
      throw error;
    } finally {
      loan.end();
    }
  }

  /** Makes zeros of what is behind the first tokens of a page that was read. */
  #clearBehind(bytes: Uint8Array, tokens: number): void {
    const { kvHeads, pageSize } = this.layout;
    let at = 0;
    for (const pool of [this.keys, this.values]) {
      for (let head = 0; head < kvHeads; head++) {
        const from = at + pool.byteAt(0, head, tokens);
        bytes.fill(0, from, from + pool.bytesOf(pageSize - tokens));
      }
      at += pool.pageBytes;
    }
  }

  restore(page: Page, bytes: Uint8Array): void {
    this.open();
    this.check([page]);
    this.flush(); // Writes overtake what is recorded.
    this.#attempt(() => {
      let at = 0;
      for (const { buffer, pageBytes } of [this.keys, this.values]) {
        const part = bytes.slice(at, at + pageBytes);
        this.#session.gpu.device.queue.writeBuffer(buffer, page * pageBytes, part);
        at += pageBytes;
      }
    });
  }

  /** Whether something is not submitted yet. */
  get waits(): boolean {
    return this.keys.waits || !this.#submission.isEmpty;
  }

  flush(): void {
    if (this.waits) this.#attempt(() => this.#dispatch(() => this.#submit()));
  }

  /** Has another submission begin with what is not submitted yet: it must be submitted before anybody else has his turn. */
  flushInto(submission: Submission): void {
    this.#attempt(() => this.#dispatch(() => submission.take(this.#submission)));
  }

  /** Has work done before what is to be written, by the same submission. */
  record(work: (submission: Submission) => void): void {
    work(this.#submission);
  }

  #dispatch(end: () => void): void {
    this.#waiting = 0;
    for (const pool of [this.keys, this.values]) pool.dispatch(this.#submission);
    end();
  }

  /** Puts rows; forgets them where that fails. */
  #put(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.keys.drop();
      this.values.drop();
      throw error;
    }
  }

  /** Tokens in portions that are uploaded at once. */
  *#portions({ batch, from, to }: Rows): Generator<Rows> {
    const { kvHeads, headDim, valueDim } = this.layout;
    const atOnce = Math.max(1, Math.floor(gatherBytes / (kvHeads * (headDim + valueDim) * 4)));
    for (; from < to; from += atOnce) yield { batch, from, to: Math.min(to, from + atOnce) };
  }

  /** Copies come after what waits to be written. */
  #writeFirst(): void {
    if (this.keys.waits) this.flush();
  }

  /** Waits for what the device says of all that was written. */
  async finish(): Promise<void> {
    await this.#flushed;
    this.open();
  }

  free(): void {
    if (this.#isFreed) return;
    this.#isFreed = true;
    this.keys.free();
    this.values.free();
    this.#scratch?.destroy();
    this.#submission = new Submission(this.#session, "pages");
    this.#freed();
  }

  /** Throws where the pages are no more, or are not what they should be. */
  open(): void {
    if (this.#isFreed) throw new Error("Cannot use an engine after `close()`");
    const reason = this.#session.gpu.lost();
    if (reason !== undefined) {
      throw new DeviceLostError(`${reason}; the cache's tokens went with it, make the cache anew`);
    }
    if (this.#failure !== undefined) throw this.#failure;
  }

  #checkSlots(page: Page, slot: number, count: number): void {
    this.check([page]);
    if (slot >= 0 && count >= 0 && slot + count <= this.layout.pageSize) return;
    throw new RangeError(
      `Cannot use slots ${slot} to ${slot + count} of a page, it has ${this.layout.pageSize}`,
    );
  }

  #grow(): void {
    if (this.#room >= this.#mostPages) {
      throw new RangeError(
        `Cannot append: all ${this.#room} pages are taken, and this GPU can bind ` +
          `${this.#session.bounds.bindingBytes} bytes of a cache's keys or values at once; ` +
          "a smaller dtype takes less, sequences in caches of their own are bound apart",
      );
    }
    this.flush();
    const wanted = Math.max(2 * this.#room, Math.ceil(firstBytes / this.bytesPerPage));
    const room = Math.min(this.#mostPages, wanted);
    this.#attempt(() => {
      const pools = [this.keys, this.values];
      const old = pools.map((pool) => pool.grow(room, this.#submission));
      this.#submit();
      for (const buffer of old) buffer?.destroy();
    });
    this.#room = room;
  }

  /** Makes a page of zeros. */
  #clear(page: Page): void {
    this.#writeFirst();
    for (const { buffer, pageBytes } of [this.keys, this.values]) {
      this.#submission.clear(buffer, page * pageBytes, pageBytes);
    }
    this.#submit();
  }

  /** Copies within a pool: a buffer cannot be copied to itself. */
  #copy({ buffer }: PagePool, from: number, to: number, bytes: number): void {
    this.#scratch ??= this.#session.gpu.device.createBuffer({
      label: "FlashTile pages on their way",
      size: Math.max(this.keys.pageBytes, this.values.pageBytes),
      usage: roles.storage,
    });
    this.#submission.copy(buffer, from, this.#scratch, 0, bytes);
    this.#submission.copy(this.#scratch, 0, buffer, to, bytes);
  }

  #submit(): void {
    this.#submission.flush();
    this.#session.staging.reset();
  }

  /**
   * Does what the device may refuse, which is told later: nobody waits here. All that a device is asked
   * for pages is within an attempt, since a single refusal can take others' work with it: that of an
   * encoder is done as a whole or not at all.
   */
  #attempt(work: () => void): void {
    this.#session.gpu.attempt(work, (refusal) => {
      // In their order: what is refused later follows from the first.
      this.#flushed = this.#flushed.then(() => refusal).then((error) => {
        if (error !== null) this.#fail(error);
      }, (error) => this.#fail(error));
    });
  }

  #fail(error: unknown): void {
    this.#failure ??= new Error(
      `Cannot attend: the GPU refused tokens of the cache, make it anew: ${reasonOf(error)}`,
    );
  }
}
