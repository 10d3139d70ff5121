import { assertEquals, assertThrows } from "@std/assert";
import { test } from "node:test";
import { type Constants, expand } from "../../src/webgpu/shader/template.ts";

/** Lines of an expanded source, without the constants in front. */
function linesOf(source: string, constants: Constants = {}, others: Record<string, string> = {}) {
  const text = expand("main.wgsl", { "main.wgsl": source, ...others }, constants);
  return text.split("\n").filter((line) => line !== "" && !line.startsWith("const "));
}

test("expand() declares constants in capitals, not flags in small letters", () => {
  const text = expand("a", { a: "x" }, { TX: 8, BC: 16, q_f32: 1 });
  assertEquals(text, "const BC: u32 = 16;\nconst TX: u32 = 8;\nx\n");
});

test("expand() keeps what its condition keeps", () => {
  const source = "#if A\na\n#else\nnot a\n#if B\nb\n#end\n#end\nlast";
  assertEquals(linesOf(source), ["not a", "last"]);
  assertEquals(linesOf(source, { A: 1, B: 1 }), ["a", "last"]);
  assertEquals(linesOf(source, { A: 0, B: 1 }), ["not a", "b", "last"]);
});

test("expand() writes loops out, also within each other and of no round", () => {
  assertEquals(linesOf("#for i in 2\nx_$i\n#end"), ["x_0", "x_1"]);
  assertEquals(linesOf("#for i in N\nx_$i\n#end\nlast", { N: 0 }), ["last"]);
  const nested = "#for i in 2\n#for j in N\nx_$i_$j y_$(i*N+j)\n#end\n#end";
  assertEquals(linesOf(nested, { N: 2 }), ["x_0_0 y_0", "x_0_1 y_1", "x_1_0 y_2", "x_1_1 y_3"]);
});

test("expand() puts files in, once for the same names, with words replaced", () => {
  const others = { "load.wgsl": "fn load_$T() {}\n#if $T_f16\nhalf\n#end" };
  const source = "#import load.wgsl T=q\n#import load.wgsl T=k\n#import load.wgsl T=q";
  const lines = linesOf(source, { k_f16: 1 }, others);
  assertEquals(lines, ["fn load_q() {}", "fn load_k() {}", "half"]);
});

test("expand() says where a template is wrong", () => {
  const wrong: [source: string, message: string][] = [
    ["a\n$nobody", "main.wgsl:2: unknown name $nobody"],
    ["a\n#if A\nb", "main.wgsl:2: a block without `#end`"],
    ["a\n#end", "main.wgsl:2: `#end` or `#else` without a beginning"],
    ["#for i\n#end", "main.wgsl:1: a loop is `#for name in COUNT`"],
    ["#for i in N\n#end", "main.wgsl:1: unknown name N"],
    ["#include x", "main.wgsl:1: unknown directive #include"],
    ["$(A+1)", "main.wgsl:1: unknown name A"],
    ["#import nothing.wgsl", "No shader source nothing.wgsl"],
  ];
  for (const [source, message] of wrong) {
    assertThrows(() => linesOf(source), Error, message);
  }
});
