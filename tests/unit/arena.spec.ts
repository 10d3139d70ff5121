import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { test } from "node:test";
import { Arena, pageBytes, roundUp } from "../../src/wasm/memory/arena.ts";
import { always } from "../support/arbitrary.ts";
import { assertRefused } from "../support/errors.ts";
import { withStub } from "../support/stub.ts";

/** Bytes of memory that tests begin with, and where nobody's memory begins. */
const initial = 2 * pageBytes, base = 1000;

function makeArena(maximumPages = 64): Arena {
  const memory = new WebAssembly.Memory({ initial: 2, maximum: maximumPages });
  return new Arena(memory, base, maximumPages * pageBytes);
}

test("roundUp() gives the next multiple", () => {
  assertEquals([0, 1, 63, 64, 65].map((n) => roundUp(n, 64)), [0, 64, 64, 64, 128]);
});

test("Arena begins above its base, aligned, with nothing in use", () => {
  const arena = makeArena();
  assertEquals(arena.usedBytes, 0);
  assertEquals(arena.reservedBytes, initial);
  assertEquals(arena.allocate(1), 1024);
});

test("Arena.allocate() aligns blocks and leaves 16 bytes behind each", () => {
  const arena = makeArena();
  const sizes = [0, 1, 16, 47, 48, 49, 64, 100];
  const blocks = sizes.map((bytes) => arena.allocate(bytes));
  blocks.forEach((at, index) => {
    assertEquals(at % 64, 0);
    if (index > 0) assert(at >= blocks[index - 1] + sizes[index - 1] + 16);
  });
});

test("Arena.allocate() takes the first free span that is large enough", () => {
  const arena = makeArena();
  const [a, b, c] = [arena.allocate(1000), arena.allocate(200), arena.allocate(1000)];
  arena.allocate(100);
  arena.free(a);
  arena.free(c);
  assertEquals(arena.allocate(500), a);
  assertEquals(arena.allocate(900), c);
  arena.free(b);
  assertEquals(arena.allocate(100), a + 576);
});

test("Arena.free() joins neighbours on both sides", () => {
  const arena = makeArena();
  const [a, b, c] = [arena.allocate(1000), arena.allocate(1000), arena.allocate(1000)];
  arena.allocate(10);
  arena.free(a);
  arena.free(c);
  arena.free(b); // Its neighbours are free: the three are one span.
  assertEquals(arena.allocate(3000), a);
});

test("Arena.free() ignores what is no block, and a block freed before", () => {
  const arena = makeArena();
  const a = arena.allocate(1000), b = arena.allocate(1000);
  arena.free(a);
  arena.free(a);
  arena.free(a + 64);
  arena.free(12345);
  assertEquals(arena.usedBytes, 1024);
  assertEquals(arena.allocate(3), a);
  arena.free(b);
});

test("Arena grows by a mebibyte at a time", () => {
  const arena = makeArena();
  arena.allocate(initial);
  assertEquals(arena.reservedBytes, initial + 16 * pageBytes);
  arena.allocate(3 * 16 * pageBytes);
  assertEquals(arena.reservedBytes % pageBytes, 0);
});

test("Arena grows from the free span at its end", () => {
  const arena = makeArena();
  arena.allocate(pageBytes);
  arena.allocate(17 * pageBytes - 2048); // 16 pages are missing: a 17th would make them 32.
  assertEquals(arena.reservedBytes, initial + 16 * pageBytes);
});

test("Arena takes the last pages where fewer than a mebibyte are left", () => {
  const arena = makeArena(5);
  arena.allocate(4 * pageBytes - 2048);
  assertEquals(arena.reservedBytes, 5 * pageBytes);
});

test("Arena.allocate() refuses more than it may have, and changes nothing", async () => {
  const arena = makeArena(5);
  const held = arena.allocate(1000);
  for (const bytes of [5 * pageBytes, 2 ** 31, 2 ** 40, 2 ** 60]) {
    await assertRefused(
      () => arena.allocate(bytes),
      RangeError,
      `Cannot allocate ${bytes} bytes of Wasm memory: 1024 are in use, the memory may have 327680`,
    );
    assertEquals([arena.usedBytes, arena.reservedBytes], [1024, initial]);
  }
  assertEquals(arena.allocate(1000), held + 1024);
});

test("Arena.allocate() asks for only what it needs when the system has no more", async () => {
  const arena = makeArena();
  const grow = WebAssembly.Memory.prototype.grow;
  const asked: number[] = [];
  const short = function (this: WebAssembly.Memory, pages: number) {
    asked.push(pages);
    if (pages > 4) throw new RangeError("no memory");
    return grow.call(this, pages);
  };
  await withStub(WebAssembly.Memory.prototype, "grow", short, () => {
    arena.allocate(5 * pageBytes);
  });
  assertEquals(asked, [16, 4]);
  assertEquals(arena.reservedBytes, initial + 4 * pageBytes);
});

test("Arena.allocate() refuses where the system has no memory at all", async () => {
  const arena = makeArena();
  const none = () => {
    throw new RangeError("no memory");
  };
  await withStub(WebAssembly.Memory.prototype, "grow", none, async () => {
    await assertRefused(
      () => arena.allocate(initial),
      RangeError,
      "Cannot allocate 131072 bytes of Wasm memory: 0 are in use, the memory may have 4194304",
    );
  });
  assertEquals(arena.usedBytes, 0);
  assertEquals(arena.allocate(initial), 1024);
});

/** A step of a random program: take a block, or give the one at this place back. */
const steps = fc.array(
  fc.oneof(
    fc.record({ take: fc.oneof(fc.nat({ max: 300 }), fc.nat({ max: 200_000 })) }),
    fc.record({ give: fc.nat({ max: 30 }) }),
  ),
  { minLength: 1, maxLength: 60 },
);

interface Block {
  readonly at: number;
  readonly bytes: number;
  readonly mark: number;
}

/** Bytes of a block, and those behind it that belong to it. */
function bytesOf(arena: Arena, { at, bytes }: Block): Uint8Array {
  return new Uint8Array(arena.memory.buffer, at, bytes + 16);
}

function assertBlocksWhole(arena: Arena, blocks: readonly Block[]): void {
  const sorted = [...blocks].sort((a, b) => a.at - b.at);
  sorted.forEach((block, index) => {
    assert(block.at >= base && block.at + block.bytes + 16 <= arena.reservedBytes);
    const next = sorted[index + 1];
    if (next) assert(block.at + block.bytes + 16 <= next.at);
    assert(bytesOf(arena, block).every((byte) => byte === block.mark));
  });
  const used = blocks.reduce((sum, { bytes }) => sum + roundUp(bytes + 16, 64), 0);
  assertEquals(arena.usedBytes, used);
}

test("Arena keeps the blocks of any program apart, and joins all that it gets back", () => {
  fc.assert(
    fc.property(steps, (program) => {
      const arena = makeArena(), blocks: Block[] = [];
      for (const [time, step] of program.entries()) {
        if ("take" in step) {
          try {
            const block = { at: arena.allocate(step.take), bytes: step.take, mark: time + 1 };
            blocks.push(block);
            bytesOf(arena, block).fill(block.mark);
          } catch (error) {
            assert(error instanceof RangeError);
          }
        } else if (blocks.length > 0) {
          const [block] = blocks.splice(step.give % blocks.length, 1);
          arena.free(block.at);
        }
      }
      assertBlocksWhole(arena, blocks);
      for (const { at } of blocks) arena.free(at);
      assertEquals(arena.usedBytes, 0);
      const reserved = arena.reservedBytes;
      arena.allocate(reserved - 1024 - 64); // All of it is one span again.
      assertEquals(arena.reservedBytes, reserved);
    }),
    always(150),
  );
});

test("Arena.provide() grows the memory ahead, no further than it is told, and owns nothing", () => {
  const arena = makeArena();
  const block = arena.allocate(1000);
  arena.provide(100_000, 40 * pageBytes);
  assertEquals(arena.usedBytes, 1024);
  const reserved = arena.reservedBytes;
  assert(reserved >= 40 * pageBytes && reserved <= 60 * pageBytes, `${reserved} bytes`);
  for (let time = 0; time < 100; time++) arena.provide(100_000, 40 * pageBytes);
  assertEquals(arena.reservedBytes, reserved);
  const next = arena.allocateZeroed(30 * pageBytes);
  assertEquals(next, block + 1024);
  assertEquals(arena.reservedBytes, reserved);
  assert(new Uint8Array(arena.memory.buffer, next, 30 * pageBytes).every((byte) => byte === 0));
});

test("Arena.provide() writes only what no block has had", () => {
  const arena = makeArena();
  const block = arena.allocate(3 * pageBytes), bytes = new Uint8Array(arena.memory.buffer);
  bytes.fill(7, block, block + 3 * pageBytes);
  arena.provide(pageBytes, 8 * pageBytes);
  arena.free(block);
  arena.provide(pageBytes, 8 * pageBytes);
  const kept = new Uint8Array(arena.memory.buffer, block, 3 * pageBytes);
  assert(kept.every((byte) => byte === 7));
});

test("Arena.provide() leaves alone what cannot grow", () => {
  const arena = makeArena(3);
  arena.provide(64 * pageBytes, 64 * pageBytes);
  assertEquals(arena.usedBytes, 0);
  arena.allocate(3 * pageBytes - 2000);
  const memory = new WebAssembly.Memory({ initial: 2, maximum: 64 });
  const refused = new Arena(memory, base, 64 * pageBytes);
  withStub(memory, "grow", () => {
    throw new RangeError("no memory");
  }, () => refused.provide(pageBytes, 40 * pageBytes));
  assertEquals(refused.reservedBytes, initial);
});
