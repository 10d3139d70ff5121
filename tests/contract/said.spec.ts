import { assertEquals, assertMatch } from "@std/assert";
import { contract } from "./backends.ts";

/** What consoles ask an object for. */
const asked = Symbol.for("nodejs.util.inspect.custom");

function said(object: object): string {
  return (object as { readonly [asked]: () => string })[asked]();
}

contract("consoles say what an engine and its tensors are, in a line each", (engine) => {
  const tensor = engine.tensor([2, 3]);
  assertMatch(said(engine), /^Engine on (wasm|webgpu), [^\n]+$/);
  assertMatch(said(tensor), /^EngineTensor \[2, 3\], f32, in (Wasm memory|a GPUBuffer)$/);
  tensor.free();
  assertEquals(said(tensor), "EngineTensor [2, 3], f32, freed");
});
