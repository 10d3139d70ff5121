import { assert, assertEquals, assertInstanceOf } from "@std/assert";
import { test } from "node:test";
import {
  PageMap,
  type PageMove,
  rebuild,
  type Rebuilt,
} from "../../src/sharded/coordinator/page_map.ts";
import type { Action, Bodies, Cell, Kind, ReportBody } from "../../src/sharded/messages/bodies.ts";
import { decode, encode, type Header, type Message } from "../../src/sharded/messages/message.ts";
import { Refusal } from "../../src/sharded/refusal.ts";
import { type Pull, Shard } from "../../src/sharded/shard/shard.ts";
import {
  assertNear,
  Cluster,
  engine,
  oneMachine,
  queryHeads,
  randomRows,
  sizes,
} from "../support/cluster.ts";
import { errorOf } from "../support/errors.ts";
import { normals, seeded } from "../support/random.ts";
import { varyingSeed } from "../support/seed.ts";

const begun: Header = {
  ...{ request: 1, epoch: 3, coordinator: 9, generation: 5, sender: 7, layer: 0 },
};

const attending = {
  ...{ queryHeads, isCausal: true, left: null, right: null, scale: 0.3, softcap: 0 },
};

/** A shard of group 0 that has begun. */
class Asked {
  /** What other shards give. */
  pull: Pull = () => Promise.reject(new Error("nobody is asked"));
  readonly #shard: Shard;

  constructor(shard: Shard) {
    this.#shard = shard;
  }

  static async begin(): Promise<Asked> {
    const settings = { name: "a", group: 0, engine: await engine(), maxBytes: 2 ** 24 };
    const asked = new Asked(new Shard({ ...settings, maxPayload: 2_000, store: undefined }));
    const whole = { sizes: { ...sizes, dtype: "f32" }, first: 0 } as const;
    await asked.ask("grant", whole, { generation: 0 });
    await asked.change([], {}, true);
    return asked;
  }

  ask<K extends Kind>(kind: K, body: Bodies[K], header: Partial<Header> = {}) {
    const message = { kind, header: { ...begun, ...header }, body } as unknown as Message;
    return this.#shard.answer(message, this.pull);
  }

  /** Appends tokens to a layer, by their positions alone. */
  append(layer: number, position: number, rows: number, header: Partial<Header> = {}) {
    const { kvHeads, headDim, valueDim } = sizes;
    const block = (width: number) => ({
      dtype: "f32" as const,
      data: Float32Array.from(
        { length: rows * width },
        (_, at) => Math.sin(position * width + at + layer),
      ),
    });
    const tokens = { k: block(kvHeads * headDim), v: block(kvHeads * valueDim) };
    const body = { cells: [cellOf(position, rows)], tokens, queries: null };
    return this.ask("step", body, { ...header, layer });
  }

  /** Bytes of pages in a layer. */
  async pages(layer: number, pages: readonly number[]): Promise<Uint8Array> {
    const body = { part: layer, offset: 0, most: 2 ** 20, only: { sequence: 0, pages } };
    const { body: { bytes } } = await this.ask("pull", body) as { body: { bytes: Uint8Array } };
    return bytes.slice();
  }

  change(actions: readonly Action[], header: Partial<Header> = {}, begins = false) {
    return this.ask("change", { begins, actions }, header);
  }

  /** Appends a token, and attends with its query. */
  step(cell: Partial<Cell>, seed = 1, header: Partial<Header> = {}) {
    const { kvHeads, headDim, valueDim } = sizes, random = seeded(seed);
    const rows = cell.rows ?? 1, whole = { ...cellOf(cell.position ?? 0, rows), ...cell };
    const block = (length: number) => ({ dtype: "f32", data: normals(length, random) }) as const;
    const k = block(rows * kvHeads * headDim), v = block(rows * kvHeads * valueDim);
    const queries = { ...attending, q: block(rows * queryHeads * headDim) };
    return this.ask("step", { cells: [whole], tokens: { k, v }, queries }, header);
  }

  /** Why something is refused. */
  async reason(act: () => Promise<unknown>): Promise<string> {
    const error = await errorOf(act);
    assertInstanceOf(error, Refusal);
    return (error as Refusal).reason;
  }
}

function cellOf(position: number, rows = 1): Cell {
  const length = position + rows;
  return { sequence: 0, position, rows, length, owner: 0, held: [length] };
}

test("a shard answers only with exactly the tokens that are counted on", async () => {
  const shard = await Asked.begin();
  await shard.step(cellOf(0, 3));
  const queries = { ...attending, q: { dtype: "f32", data: new Float32Array(queryHeads * 8) } };
  const attend = (held: number, length: number) =>
    shard.ask("step", {
      ...{ cells: [{ ...cellOf(length - 1), held: [held] }], tokens: null },
      queries: queries as Bodies["step"]["queries"],
    });
  assertEquals((await attend(3, 3)).kind, "part");
  assertEquals(await shard.reason(() => attend(4, 4)), "behind");
  assertEquals(await shard.reason(() => attend(2, 3)), "behind");
  // Of fewer tokens than there are it has exactly these.
  assertEquals((await attend(2, 2)).kind, "part");
  // A gap: the token before was never heard of.
  assertEquals(await shard.reason(() => shard.step(cellOf(4))), "behind");
  assertEquals(await shard.reason(() => shard.step({ ...cellOf(33), held: [4] })), "behind");
});

test("a shard takes the same again, and no others in their place", async () => {
  const shard = await Asked.begin();
  const first = await shard.step(cellOf(0, 3)), again = await shard.step(cellOf(0, 3));
  assertEquals(again, first);
  assertEquals(await shard.reason(() => shard.step(cellOf(0, 3), 2)), "conflict");
  assertEquals(await shard.reason(() => shard.step(cellOf(0, 2))), "conflict");
  await shard.step(cellOf(3));
  // The answer of the first was lost, and is the same still.
  assertEquals(await shard.step(cellOf(0, 3)), first);
  await shard.change([{ do: "keep", sequence: 0, length: 3, layer: null }], { generation: 6 });
  await shard.step(cellOf(3), 5, { generation: 6 });
});

test("a shard refuses whoever has another epoch or generation", async () => {
  const shard = await Asked.begin(), cell = cellOf(0);
  const reason = (header: Partial<Header>) => shard.reason(() => shard.step(cell, 1, header));
  assertEquals(await reason({ epoch: 2 }), "epoch");
  assertEquals(await reason({ coordinator: 8 }), "epoch");
  assertEquals(await reason({ epoch: 4 }), "behind");
  assertEquals(await reason({ generation: 4 }), "stale");
  assertEquals(await reason({ generation: 6 }), "behind");
  const grant = (header: Partial<Header>) =>
    shard.ask("grant", { sizes: { ...sizes, dtype: "f32" }, first: 0 }, header);
  assertEquals(await shard.reason(() => grant({ epoch: 2 })), "epoch");
  assertEquals(await shard.reason(() => grant({ coordinator: 8 })), "epoch");
  assertEquals((await grant({})).kind, "report");
  assertEquals((await grant({ epoch: 4, coordinator: 8 })).kind, "report");
  // Granted, and not begun.
  assertEquals(await reason({ epoch: 4, coordinator: 8 }), "behind");
  assertEquals(await reason({}), "epoch");
});

test("a shard changes once for a generation, and none is left out", async () => {
  const shard = await Asked.begin(),
    kept: Action = { do: "keep", sequence: 0, length: 1, layer: null };
  await shard.step(cellOf(0, 3));
  assertEquals(await shard.reason(() => shard.change([kept], { generation: 7 })), "behind");
  await shard.change([kept], { generation: 6 });
  await shard.step(cellOf(1), 2, { generation: 6 });
  await shard.change([kept], { generation: 6 }); // Again: the token stays.
  await shard.step(cellOf(2), 3, { generation: 6 });
  assertEquals(await shard.reason(() => shard.change([kept], { generation: 5 })), "stale");
});

test("a shard drops full pages that it has, and no others", async () => {
  const shard = await Asked.begin();
  const drop = (pages: number[], generation: number, sequence = 0) =>
    shard.change([{ do: "drop", group: 0, sequence, pages }], { generation });
  await shard.append(0, 0, 16);
  await shard.append(0, 16, 4);
  const refused = (...given: Parameters<typeof drop>) => shard.reason(() => drop(...given));
  assertEquals(await refused([0], 6), "shape"); // The other layer has nothing of it.
  await shard.append(1, 0, 16);
  await shard.append(1, 16, 4);
  for (const pages of [[1], [2], [0, 0], [0, 1]]) assertEquals(await refused(pages, 6), "shape");
  assertEquals(await refused([0], 6, 2), "shape");
  await shard.change([{ do: "drop", group: 1, sequence: 0, pages: [0] }], { generation: 6 });
  await drop([0], 7);
  await drop([0], 7); // The same once more is nothing.
  // What is behind goes on where it was.
  const queries = { ...attending, q: { dtype: "f32", data: new Float32Array(queryHeads * 8) } };
  const cells = [{ ...cellOf(19), held: [4] }];
  const body = { cells, tokens: null, queries: queries as Bodies["step"]["queries"] };
  assertEquals((await shard.ask("step", body, { generation: 7 })).kind, "part");
});

test("a shard takes the pages that it has fetched, and no others", async () => {
  const giver = await Asked.begin(), shard = await Asked.begin(), who = { name: "b", identity: 5 };
  for (const layer of [0, 1]) {
    for (const position of [0, 16]) await giver.append(layer, position, 16);
  }
  shard.pull = (_, part, only) => giver.pages(part, only!.pages);
  const body = { giver: who, sequence: 0, group: 0, pages: [0, 1] };
  const take = (pages: number[], generation: number) =>
    shard.change([{ do: "take", group: 0, sequence: 0, pages }], { generation });
  assertEquals(await shard.reason(() => take([0, 1], 6)), "failed");
  const refused = (more: object) => shard.reason(() => shard.ask("fetch", { ...body, ...more }));
  assertEquals(await refused({ sequence: 2 }), "shape");
  assertEquals(await refused({ pages: [1, 0] }), "shape");
  assertEquals(await refused({ pages: [2] }), "shape"); // The giver has none of that.
  shard.pull = () => giver.pages(0, [0]);
  assertEquals(await refused({}), "failed"); // Fewer than were asked for.
  shard.pull = () => Promise.resolve(new Uint8Array(64));
  assertEquals(await refused({}), "failed");
  shard.pull = (_, part, only) => giver.pages(part, only!.pages);
  await shard.ask("fetch", { ...body, group: 1 }); // For others.
  assertEquals(await shard.reason(() => take([0, 1], 6)), "failed");
  await shard.ask("fetch", body);
  shard.pull = () => Promise.reject(new Error("nobody is asked"));
  await shard.ask("fetch", body); // They are there.
  await take([0, 1], 6);
  assertEquals(await shard.reason(() => shard.ask("fetch", body)), "stale");
  assertEquals(
    await shard.reason(() => shard.ask("fetch", body, { generation: 6 })),
    "shape", // They are here already.
  );
  assertEquals(await shard.pages(1, [0, 1]), await giver.pages(1, [0, 1]));
  // What was fetched and is not taken by the next change is forgotten.
  shard.pull = (_, part) => giver.pages(part, [0, 1]);
  await shard.ask("fetch", { ...body, pages: [2, 3] }, { generation: 6 });
  await shard.change([], { generation: 7 });
  assertEquals(await shard.reason(() => take([2, 3], 8)), "failed");
});

test("a shard refuses what does not fit, before it changes", async () => {
  const shard = await Asked.begin();
  const reason = (cell: Partial<Cell>, header = {}) =>
    shard.reason(() => shard.step({ ...cellOf(0), ...cell }, 1, header));
  assertEquals(await reason({ sequence: 2 }), "shape");
  assertEquals(await reason({ held: [] }), "shape");
  assertEquals(await reason({ length: 0 }), "shape");
  assertEquals(await reason({}, { layer: 2 }), "shape");
  assertEquals(await shard.reason(() => shard.step(cellOf(14, 4))), "shape");
  assertEquals(await shard.reason(() => shard.step(cellOf(0, 16))), "payload");
  const fork: Action = { do: "fork", from: 0, to: 2 };
  assertEquals(await shard.reason(() => shard.change([fork], { generation: 6 })), "shape");
  assertEquals((await shard.step(cellOf(0))).kind, "part");
});

/** A report of one sequence, in one layer. */
function report(pages: number[], length: number, more: Partial<ReportBody> = {}): ReportBody {
  return {
    ...{ name: "", group: 0, granted: 1, joined: 1, generation: 4, changed: [], first: 0 },
    sequences: [{ pages, lengths: [length, length] }],
    ...more,
  };
}

test("rebuild() gives the tokens before the first gap, of one past", () => {
  const of = (...reports: (ReportBody | undefined)[]) => rebuild(reports, 0, 16);
  const is = ({ owners, length }: Rebuilt, expected: number[], tokens: number) =>
    assertEquals({ owners, length }, { owners: expected, length: tokens });
  is(of(report([0, 2], 20), report([1], 16)), [0, 1, 0], 36);
  is(of(report([0, 2], 20), report([1], 9)), [0, 1], 25);
  is(of(report([0, 2], 20), undefined), [0], 16);
  const short = report([1], 16, { sequences: [{ pages: [1], lengths: [16, 3] }] });
  is(of(report([0, 2], 20), short), [0, 1], 19);
  // One has heard of a change that the other has not.
  const changed = { generation: 5, changed: [{ sequence: 0, length: 18 }] };
  is(of(report([0, 2], 20, changed), report([1], 16)), [0, 1], 18);
  const other = { generation: 5, changed: [{ sequence: 1, length: 0 }] };
  assertEquals(of(report([0, 2], 20, other), report([1], 16)).length, 36);
});

test("rebuild() takes a page that was on its way where it is first, and the other is dropped", () => {
  const of = (...reports: (ReportBody | undefined)[]) => rebuild(reports, 0, 16);
  const both = of(report([0, 1], 32), report([1, 2], 20));
  assertEquals(both, {
    ...{ owners: [0, 0, 1], length: 36 },
    strays: [{ sequence: 0, group: 1, pages: [1] }],
  });
  // Such pages are full: of two that have part of one neither is right.
  assertEquals(of(report([0, 1], 20), report([1], 4)), { owners: [0], length: 16, strays: [] });
  assertEquals(of(report([0, 1], 20), report([1], 16)).length, 16);
});

test("PageMap.nextMove() evens groups out, and spreads what moves", () => {
  const map = new PageMap(2, 4, 16), full = [9, 6];
  map.replace(0, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
  map.replace(1, [0, 1, 0, 1, 0, 1, 1]);
  const moves: PageMove[] = [];
  for (let move = map.nextMove(full, 3); move; move = map.nextMove(full, 3)) {
    assert(move.pages.length <= 3 && move.pages.every((page) => page < full[move.sequence]));
    map.move(move);
    moves.push(move);
  }
  assertEquals(moves[0], { sequence: 0, from: 0, to: 2, pages: [1, 4, 7] });
  const totals = [0, 1].map((sequence) => map.held(sequence, [160, 112][sequence]))
    .reduce((a, b) => a.map((count, group) => (count + b[group]) / 16));
  assertEquals(totals.toSorted(), [4, 4, 4, 5]);
  assertEquals(moves.reduce((sum, { pages }) => sum + pages.length, 0), 8);
  // What is not full stays, and so does everything where there is nothing to even out.
  const small = new PageMap(1, 2, 16);
  small.replace(0, [0, 0, 0]);
  assertEquals(small.nextMove([0], 3), undefined);
  assertEquals(new PageMap(1, 2, 16).nextMove([0], 3), undefined);
});

test("a coordinator takes no answer but a member's, to its question, of its size", async () => {
  const random = seeded(varyingSeed()),
    cluster = new Cluster(random),
    [local] = oneMachine(await engine());
  await cluster.startAll(2);
  const cache = await cluster.coordinate({ groups: 2 }), { q, k, v } = randomRows(20, random);
  const identities = new Set<number>();
  for (const { data, subject } of cluster.network.sent) {
    const message = decode(data) as Message;
    if (subject.includes("back") && message.kind === "report") {
      identities.add(message.header.sender);
    }
  }
  const forger = cluster.network.connect(), reply: Partial<Header>[] = [{ sender: 4711 }];
  for (const sender of identities) {
    reply.push({ sender, generation: 0 }, { sender, epoch: 0 }, { sender, request: 0 });
    reply.push({ sender, coordinator: 1 }, { sender, layer: 1 });
  }
  forger.subscribe("t.cache.all", {
    callback(_, { data, reply: subject }) {
      const message = decode(data) as Message;
      if (message.kind !== "step") return;
      const rows = message.body.cells.reduce((sum, { rows }) => sum + rows, 0) * queryHeads;
      const part = (count: number) =>
        ({
          out: { dtype: "f32", data: new Float32Array(count * sizes.valueDim).fill(1) },
          lse: { dtype: "f32", data: new Float32Array(count).fill(9) },
        }) as const;
      const say = (header: Header, count: number) =>
        forger.publish(subject!, encode("part", header, part(count)));
      for (const other of reply) say({ ...message.header, ...other }, rows);
      for (const sender of identities) say({ ...message.header, sender }, rows - 1);
    },
  });
  const given = await cache.step(0, q, k, v);
  local.append(k, v);
  assertNear(given.out.data, local.attendSync(q, { causal: true }).out.data, "out");
  await cluster.end();
  local.free();
});
