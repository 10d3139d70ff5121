// A process of its own: elsewhere binaries are provided, which every engine takes.

import { createEngine } from "@flashtile/attention";
import { assertEquals } from "@std/assert";
import { test } from "node:test";
import { chooseBinary, provideWide } from "../../src/wasm/binary/choice.ts";
import { wideBinary } from "../support/binaries.ts";

test("createEngine() takes the kernels that `wide` brings, or none", async () => {
  const isChosen = chooseBinary().name === "relaxed", asked: (boolean | undefined)[] = [];
  provideWide((choice, isAsked) => {
    asked.push(isAsked);
    if (!isChosen) return { ...choice, reason: "brought" };
    return { ...choice, reason: "brought", wide: () => wideBinary.slice() };
  });
  try {
    for (const wide of [undefined, true, false]) {
      const engine = await createEngine({ backend: "wasm", threads: 1, wide });
      assertEquals(/brought/.test(engine.reason), wide !== false, engine.reason);
      await engine.close();
    }
    assertEquals(asked, [undefined, true]);
  } finally {
    provideWide(undefined);
  }
});
