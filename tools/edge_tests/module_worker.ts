/**
 * A worker that passes the package's binary as `module`, as its host has compiled it.
 *
 * @module
 */

import { createEngine } from "@flashtile/attention";
// @ts-ignore: a module of the package beside the script.
import module from "flashtile/relaxed.wasm";

const ones = { data: new Float32Array(2 * 100 * 64).fill(1), shape: [2, 100, 64] };

export default {
  async fetch(): Promise<Response> {
    await using engine = await createEngine({ module });
    const { out } = await engine.attention(ones, ones, ones, { causal: true });
    return Response.json({
      reason: engine.reason,
      wrong: out.data.some((x) => Math.abs(x - 1) > 2e-6),
    });
  },
};
