import { assert, assertEquals, assertInstanceOf } from "@std/assert";
import { test } from "node:test";
import type { Bodies, Kind } from "../../src/sharded/messages/bodies.ts";
import { kinds } from "../../src/sharded/messages/bodies.ts";
import { decode, encode, type Header, type Message } from "../../src/sharded/messages/message.ts";
import { Refusal } from "../../src/sharded/refusal.ts";
import { Shard } from "../../src/sharded/shard/shard.ts";
import { engine, sizes } from "../support/cluster.ts";
import { normals, type Random, seeded, whole } from "../support/random.ts";
import { varyingSeed } from "../support/seed.ts";
import { share } from "../support/share.ts";

const header: Header = {
  ...{ request: 7, epoch: 3, coordinator: 0xfedcba98, generation: 9, sender: 5, layer: 1 },
};

/** A message of each kind. */
function bodiesBy(random: Random): Bodies {
  const block = (length: number) => ({ dtype: "f32", data: normals(length, random) }) as const;
  const bits = { dtype: "bf16", data: Uint16Array.of(1, 2, 3) } as const;
  const introduction = { name: "héllo", group: 2, granted: 4 };
  const cell = { sequence: 1, position: 16, rows: 3, length: 19, owner: 1, held: [16, 3] };
  const attending = { queryHeads: 4, isCausal: true, left: 5, right: null, scale: 0.1, softcap: 0 };
  return {
    ...{ ping: {}, pong: introduction, done: {} },
    grant: { sizes: { ...sizes, dtype: "int8" }, first: 1 },
    report: {
      ...{ ...introduction, generation: 1, joined: 2, first: 0 },
      changed: [{ sequence: 0, length: 5 }],
      sequences: [{ pages: [0, 2], lengths: [20, 19] }, { pages: [], lengths: [0, 0] }],
    },
    change: {
      begins: true,
      actions: [
        { do: "keep", sequence: 1, length: 2, layer: null },
        { do: "keep", sequence: 1, length: 2, layer: 0 },
        { do: "fork", from: 0, to: 1 },
        { do: "free" },
        { do: "take", sequence: 1, group: 2, pages: [0, 4] },
        { do: "drop", sequence: 0, group: 1, pages: [] },
      ],
    },
    step: {
      cells: [cell, { ...cell, sequence: 0, held: [] }],
      tokens: { k: block(12), v: bits },
      queries: { ...attending, q: block(24) },
    },
    part: { out: block(48), lse: block(4) },
    refused: { reason: "full", text: "no room" },
    copy: { name: "a", identity: 5 },
    pull: { part: 2, offset: 2 ** 40, most: 100, only: { sequence: 1, pages: [3, 5] } },
    data: { total: 2 ** 41, bytes: Uint8Array.of(1, 2, 3, 4, 5) },
    save: { name: "noon" },
    load: { name: "noon" },
    fetch: { giver: { name: "a", identity: 5 }, sequence: 1, group: 0, pages: [1, 2] },
  };
}

const all = (random: Random) =>
  kinds.map((kind) => [kind, encode(kind, header, bodiesBy(random)[kind as Kind])] as const);

test("decode() gives what encode() was given, wherever the bytes stand in their buffer", () => {
  const random = seeded(varyingSeed()), bodies = bodiesBy(random);
  for (const kind of kinds) {
    const bytes = encode(kind, header, bodies[kind]);
    const shifted = new Uint8Array(bytes.length + 3).subarray(3);
    shifted.set(bytes);
    assertEquals(decode(shifted), { kind, header, body: bodies[kind] } as unknown as Message);
  }
  const without = { ...bodies.step, tokens: null, queries: null };
  assertEquals(decode(encode("step", header, without)), {
    ...{ kind: "step", header, body: without },
  } as Message);
});

test("decode() tells another version, and refuses what is no message", () => {
  const [bytes] = all(seeded(1)).map(([, bytes]) => bytes), other = bytes.slice();
  other[4] = 2;
  assertEquals(decode(other), { kind: "other version", version: 2 });
  const cut = [0, 4, 35, 36, bytes.length - 4].map((length) => bytes.subarray(0, length));
  for (const some of [...cut, new Uint8Array(64)]) {
    if (some.length !== bytes.length) assertEquals(decode(some), undefined);
  }
});

/** Bytes with something else in them. */
function mutated(bytes: Uint8Array, random: Random): Uint8Array {
  const copy = bytes.slice(), at = whole(random, 0, copy.length - 1);
  switch (whole(random, 0, 4)) {
    case 0:
      copy[at] ^= 1 << whole(random, 0, 7);
      return copy;
    case 1:
      copy.fill(whole(random, 0, 255), at, at + whole(random, 1, 8));
      return copy;
    case 2:
      return copy.subarray(0, at);
    case 3:
      return Uint8Array.from([...copy, ...copy.subarray(0, at)]);
    default:
      new DataView(copy.buffer).setUint32(at & ~3, whole(random, 0, 0xffffffff), true);
      return copy;
  }
}

const isSame = (a: Uint8Array, b: Uint8Array) =>
  a.length === b.length && a.every((byte, at) => byte === b[at]);

test("decode() refuses every mutation of a message: 5,000 in a whole run", () => {
  const random = seeded(varyingSeed()), messages = all(random);
  for (let count = share(5_000); count > 0; count--) {
    const [kind, bytes] = messages[whole(random, 0, messages.length - 1)];
    const other = mutated(bytes, random);
    if (isSame(other, bytes)) continue;
    const read = decode(other);
    assert(read === undefined || read.kind === "other version", `a mutated ${kind} was read`);
  }
});

/** Words of a message replaced, and its checksum made right: what only a bad coordinator would send. */
function resealed(bytes: Uint8Array, random: Random): Uint8Array {
  const words = new Uint32Array(bytes.slice().buffer);
  for (let count = whole(random, 1, 3); count > 0; count--) {
    const at = whole(random, 3, Math.min(words.length, 48) - 1);
    words[at] = random() < 0.5 ? whole(random, 0, 20) : whole(random, 0, 0xffffffff);
  }
  let hash = 0x811c9dc5;
  for (const [at, word] of words.entries()) {
    if (at !== 2) hash = Math.imul(hash ^ word, 0x01000193);
  }
  words[2] = hash >>> 0;
  return new Uint8Array(words.buffer);
}

test("a shard answers or refuses whatever a sealed message says, within its bytes", async () => {
  const random = seeded(varyingSeed()), maxBytes = 2 ** 18;
  const settings = { name: "a", group: 0, engine: await engine(), maxBytes, store: undefined };
  const shard = new Shard({ ...settings, maxPayload: 2 ** 20 });
  const pull = () => Promise.resolve(new Uint8Array(40));
  const granted = { ...header, generation: 0, layer: 0 }, begun = { ...granted, generation: 1 };
  const { kvHeads, headDim, valueDim } = sizes, rows = 4;
  const block = (length: number) => ({ dtype: "f32", data: normals(length, random) }) as const;
  const step = {
    cells: [{ sequence: 0, position: 0, rows, length: rows, owner: 0, held: [rows] }],
    tokens: { k: block(rows * kvHeads * headDim), v: block(rows * kvHeads * valueDim) },
    queries: {
      ...{ queryHeads: 4, isCausal: true, left: null, right: null, scale: 0.3, softcap: 0 },
      q: block(rows * 4 * headDim),
    },
  };
  const { change, pull: pulling } = bodiesBy(random), grant = { sizes: { ...sizes, dtype: "f32" } };
  const giver = { name: "b", identity: 5 };
  const messages = [
    encode("grant", granted, { ...grant, first: 0 } as Bodies["grant"]),
    encode("change", begun, { begins: true, actions: [] }),
    ...[0, 1, 2].map(() => encode("step", begun, step)),
    encode("change", { ...granted, generation: 2 }, { ...change, begins: false }),
    encode("pull", begun, { ...pulling, offset: 0 }),
    encode("pull", begun, { ...pulling, offset: 0, only: null }),
    encode("copy", begun, giver),
    encode("fetch", begun, { giver, sequence: 0, group: 0, pages: [0, 2] }),
  ];
  const counts = { answered: 0, refused: 0, unread: 0 };
  const ask = async (bytes: Uint8Array) => {
    const message = decode(bytes);
    if (message === undefined || message.kind === "other version") return void counts.unread++;
    try {
      await shard.answer(message, pull);
      counts.answered++;
    } catch (error) {
      assertInstanceOf(error, Refusal);
      counts.refused++;
    }
    assert(shard.bytes <= maxBytes, `${shard.bytes} bytes`);
  };
  for (const bytes of messages.slice(0, 3)) await ask(bytes);
  assertEquals(counts, { answered: 3, refused: 0, unread: 0 });
  for (let count = share(5_000); count > 0; count--) {
    const bytes = messages[whole(random, 0, messages.length - 1)];
    await ask(random() < 0.1 ? bytes : resealed(bytes, random));
  }
  assert(Math.min(...Object.values(counts)) > 3, JSON.stringify(counts));
  shard.free();
});
