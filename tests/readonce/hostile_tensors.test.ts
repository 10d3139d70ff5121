import { assert, assertEquals } from "@std/assert";
import { test } from "node:test";
import { longTest, sharedOut } from "../support/share.ts";
import { calls } from "./honest.ts";
import { type Hostile, hostileCall, runAll } from "./hostile.ts";
import type { Place } from "./operations.ts";
import { tricks } from "./tricks.ts";

/** Every trick in the place of a tensor of a call. */
function hostileTensors(place: Place): Hostile[] {
  return calls.flatMap((call) =>
    Object.keys(call.tensors).flatMap((name) =>
      tricks.map((trick) =>
        hostileCall(
          call,
          place,
          { ...trick, name: `\`${name}\`, ${trick.name}` },
          (honest, victims) => {
            const made = trick.make(honest.given[name], victims);
            honest.given[name] = made as never;
            if (name in honest.options) honest.options[name] = made;
          },
        )
      )
    )
  );
}

for (const place of ["arrays", "engine memory"] as const) {
  const all = hostileTensors(place);
  for (const { name } of calls) {
    longTest(
      `${name} reads a tensor of ${place} once, and nothing that is not its own`,
      async () => {
        const ours = all.filter((hostile) => hostile.name.startsWith(`${name},`));
        const some = sharedOut(ours, Math.ceil(ours.length / 4), `${name}, ${place}`);
        assertEquals(await runAll([...some]), []);
      },
    );
  }
}

test("hostile tensors are at least 200", () => {
  assert(hostileTensors("arrays").length >= 200);
});
