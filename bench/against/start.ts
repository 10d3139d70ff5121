/**
 * One process of a checkout: `start.ts MODULE` prints the milliseconds from before the library is loaded
 * to a first result. Nothing is imported but that: what a program before it would load of the runtime,
 * such as Node's timers in Deno, the library would seem to have for nothing.
 *
 * @module
 */

type Library = typeof import("../../mod.ts");

const data = new Float32Array(1024), before = performance.now();
const { attention }: Library = await import(Deno.args[0]);
const q = { data, shape: [16, 64] };
await attention(q, q, q);
console.log(performance.now() - before);
