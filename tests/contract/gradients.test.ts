import { gradientExpectation, gradientsOf } from "../support/gradients.ts";
import { once } from "../support/once.ts";
import { vectorCases } from "../support/vectors.ts";
import { contract } from "./backends.ts";

// More of gradients is in tests/gradients/, for one stack of each kind: in software a GPU's shaders take
// minutes to compile.

for (const { name, read } of vectorCases) {
  const prepare = once(() => {
    const { problem, options, dOut, out, lse } = read();
    const call = { problem, meaning: options, cotangents: { dOut } };
    return { call, forward: { out, lse }, check: gradientExpectation(call) };
  });
  contract(`attentionBackward() agrees with PyTorch on ${name}`, async (engine) => {
    // The file's gradients are rounded to f32; the oracle's, which agree with them to that, are not.
    // `out` and `lse` are the file's: of what they lack, few gradients as those of sinks are no measure.
    const { call, forward, check } = prepare();
    check(await gradientsOf(engine, call, forward));
  }, { daily: 1 / 3, needs: "backward" });
}
