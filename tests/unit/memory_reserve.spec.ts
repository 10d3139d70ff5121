import { test } from "node:test";
import { assert, assertEquals, assertInstanceOf, assertMatch } from "@std/assert";
import {
  attention,
  BackendUnavailableError,
  createEngine,
  type Engine,
  tensor,
} from "@flashtile/attention";
import { errorOf } from "../support/errors.ts";
import { withStub } from "../support/stub.ts";

const { Memory } = WebAssembly;
const mib = 1024 * 1024;

/** What of a memory a system reserves at most, in MiB: shared, and not. */
interface Limits {
  readonly shared: number;
  readonly unshared: number;
}

/** A system that reserves no more; tells what was tried. */
async function onSystem(
  limits: Limits,
  use: (tried: string[]) => Promise<void>,
): Promise<void> {
  const tried: string[] = [];
  const limited = function (descriptor: WebAssembly.MemoryDescriptor) {
    const { maximum, shared } = descriptor;
    const size = maximum! * 65536 / mib, kind = shared ? "shared" : "unshared";
    tried.push(`${kind} ${Math.ceil(size)}`);
    if (size > limits[kind]) throw new RangeError("Out of memory");
    return new Memory(descriptor);
  };
  await withStub(WebAssembly, "Memory", limited, () => use(tried));
}

/** Calls work, and memory grows no farther than was reserved. */
async function checkUse(engine: Engine, most: number): Promise<void> {
  const x = tensor(new Float32Array(8 * 300 * 64).fill(1), [8, 300, 64]);
  assertEquals((await engine.attention(x, x, x)).out.data[70], 1);
  const error = await errorOf(() => engine.tensor([most * mib / 4]));
  assertInstanceOf(error, RangeError);
  assertEquals((await engine.attention(x, x, x)).out.data[7], 1);
  await engine.close();
}

const several = (await createEngine()).reason.includes("threads");
const skip = several ? undefined : "this runtime has no threads";

test(
  "createEngine() takes less memory where the system reserves no 4 GiB",
  { skip },
  () =>
    onSystem({ shared: 512, unshared: 4096 }, async (tried) => {
      const engine = await createEngine({ backend: "wasm" });
      assertEquals(tried, ["shared 4096", "shared 2048", "shared 1024", "shared 512"]);
      assertMatch(engine.reason, / binary, \d+ threads, at most 511 MiB of memory: /);
      await checkUse(engine, 512);
    }),
);

test(
  "createEngine() takes one thread where no memory can be shared",
  { skip },
  () =>
    onSystem({ shared: 0, unshared: 256 }, async () => {
      const engine = await createEngine();
      const note = "at most 255 MiB of memory (no memory can be reserved that threads can share)";
      assertMatch(engine.reason, / binary, one thread, /);
      assert(engine.reason.includes(note), engine.reason);
      await checkUse(engine, 256);
    }),
);

test(
  "createEngine() refuses threads that it was asked for and cannot have",
  { skip },
  () =>
    onSystem({ shared: 0, unshared: 4096 }, async (tried) => {
      const error = await errorOf(() => createEngine({ backend: "wasm", threads: 2 }));
      assertInstanceOf(error, BackendUnavailableError);
      assertEquals(
        (error as Error).message,
        "Cannot use the wasm backend: it cannot have 2 threads: the system reserves no memory of " +
          "4095 MiB or less that threads can share",
      );
      assertEquals(tried.at(-1), "shared 64");
    }),
);

test("createEngine() says that the system has no memory for it", async () => {
  await onSystem({ shared: 0, unshared: 0 }, async (tried) => {
    const error = await errorOf(() => createEngine({ backend: "wasm" }));
    assertInstanceOf(error, BackendUnavailableError);
    assertMatch((error as Error).message, /: the system reserves no memory of 4095 MiB or less$/);
    assertEquals(tried.at(-1), "unshared 64");
  });
  // Later it may.
  await (await createEngine({ backend: "wasm" })).close();
});

test("createEngine() does not go below the memory that it was asked for", () =>
  onSystem({ shared: 0, unshared: 1 }, async (tried) => {
    const options = { backend: "wasm", threads: 1, maxMemoryBytes: 2 * mib } as const;
    assertInstanceOf(await errorOf(() => createEngine(options)), BackendUnavailableError);
    assertEquals(tried, ["unshared 2"]);
    await (await createEngine({ ...options, maxMemoryBytes: mib })).close();
  }));

test("attention() runs where the system reserves little", () =>
  onSystem({ shared: 128, unshared: 128 }, async () => {
    const x = tensor(new Float32Array(64).fill(2), [1, 64]);
    assertEquals((await attention(x, x, x)).out.data[0], 2);
  }));
