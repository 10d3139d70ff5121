/**
 * An engine of two threads that is never closed: its sleeping worker must not keep the process
 * alive.
 *
 * @module
 */

import { capabilities, createEngine, tensor } from "@flashtile/attention";

const { threads } = await capabilities();
if (!threads.available) throw new Error(`There are no threads here: ${threads.reason}`);

const engine = await createEngine({ threads: 2 });
const shape = [8, 512, 64]; // Enough work that the worker is woken.
const ones = tensor(new Float32Array(8 * 512 * 64).fill(1), shape);
const { out } = await engine.attention(ones, ones, ones);
if (out.data.some((x) => Math.abs(x - 1) > 1e-5)) throw new Error("A mean of ones is not 1");
