import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { shortenNames } from "../../tools/shorten_shaders.ts";

test("shortenNames() gives what is declared a name of its own, the same in every file", () => {
  const shared = "fn half_of(value:f32)-> f32{\nreturn value/2;\n}";
  const main = "fn main(){\nlet whole=half_of(4);\nvar other=half_of(whole);\n}";
  assertEquals(shortenNames([shared, main], ""), [
    "fn a(b:f32)-> f32{\nreturn b/2;\n}",
    "fn main(){\nlet c=a(4);\nvar d=a(c);\n}",
  ]);
});

test("shortenNames() keeps members, though a variable has the name of one", () => {
  const source = "struct Part{\nfirst:u32,\nrest:Other,\n}\nstruct Other{\nfirst:u32,\n}\n" +
    "fn sum(first:Part)-> u32{\nreturn first.first+first.rest.first;\n}";
  const [short] = shortenNames([source], "");
  const [, part, other] = /^struct (\w)\{\nfirst:u32,\nrest:(\w),\n\}\n/.exec(short)!;
  assert(short.includes(`struct ${other}{\nfirst:u32,\n}\n`));
  assert(/\((\w):(\w)\)-> u32\{\nreturn \1\.first\+\1\.rest\.first;/.exec(short)![2] === part);
});

test("shortenNames() keeps what WGSL and the importing side have, and what the template makes", () => {
  const sources = [
    "#import load.wgsl TENSOR=keys",
    "fn load_$TENSOR(){\nvar all=$TENSOR[tables[0]];\n#for j in 4\nlet sum_$j=all;\n#end\n}",
    "var<storage> tables:array<u32>;\nfn run(keys:u32){\nload_keys();\nlet sum_0=all(TILE > 0);\n}",
  ];
  assertEquals(shortenNames(sources, "var<storage> tables: array<u32>;"), [
    ...sources.slice(0, 2),
    sources[2].replace("run", "a"),
  ]);
});

test("shortenNames() takes no name that is there already", () => {
  assertEquals(shortenNames(["fn long(a:u32){\nlet b=a;\n}"], "fn c() {}"), [
    "fn d(a:u32){\nlet b=a;\n}",
  ]);
});
