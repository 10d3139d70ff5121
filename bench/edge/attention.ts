/**
 * A worker that calls the library once for each request, and does nothing else.
 *
 * @module
 */

import { attention, tensor } from "@flashtile/attention";

const shape = [8, 16, 64];

export default {
  async fetch(): Promise<Response> {
    const x = tensor(new Float32Array(8 * 16 * 64).fill(1), shape);
    const { out } = await attention(x, x, x, { causal: true });
    return Response.json(out.data[0]);
  },
};
