/**
 * The engine behind `attention()`, which nobody can close: it must not keep the process alive.
 *
 * @module
 */

import { attention, tensor } from "@flashtile/attention";

const shape = [8, 512, 64]; // Enough work for as many threads as run here.
const ones = tensor(new Float32Array(8 * 512 * 64).fill(1), shape);
const { out } = await attention(ones, ones, ones, { causal: true });
if (out.data.some((x) => Math.abs(x - 1) > 1e-5)) throw new Error("A mean of ones is not 1");
