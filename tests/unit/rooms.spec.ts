import { assert, assertEquals } from "@std/assert";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";

/**
 * Who may import whom, types included: each room, and the rooms below it that it may use. Rooms of a
 * backend are its own business but for what stands here; a room within another is named before it.
 */
const allowed: Readonly<Record<string, readonly string[]>> = {
  "runtime": [],
  "tensor": [],
  "check": ["tensor"],
  "contract": ["check", "tensor"],
  "masks": ["check", "tensor"],
  "scores": ["check", "tensor"],
  "operations": ["check", "contract", "masks", "scores", "tensor"],
  "cache": ["check", "contract", "operations", "tensor"],
  // Types alone, graphs of functions, and words of messages: a wrong plan must not hide behind itself.
  "reference": ["check", "operations", "scores", "tensor"],

  "wasm/memory": ["contract", "tensor"],
  "wasm/record": ["tensor"],
  "wasm/binary": ["check", "contract", "runtime", "wasm/memory"],
  "wasm/team": ["check", "contract", "runtime", "wasm/binary", "wasm/memory", "wasm/record"],
  "wasm/pages": ["contract", "tensor", "wasm/binary", "wasm/memory", "wasm/record"],
  "wasm/attention": [
    ...["contract", "masks", "operations", "scores", "tensor"],
    ...["wasm/binary", "wasm/memory", "wasm/pages", "wasm/record", "wasm/team"],
  ],
  "wasm/backward": [
    ...["masks", "operations", "tensor"],
    ...["wasm/attention", "wasm/memory", "wasm/record", "wasm/team"],
  ],
  "wasm/rows": [
    "wasm/weights",
    ...["contract", "operations", "tensor", "wasm/attention", "wasm/backward"],
    ...["wasm/binary", "wasm/memory", "wasm/record", "wasm/team"],
  ],
  "wasm/integer": [
    ...["contract", "operations", "runtime"],
    ...["wasm/attention", "wasm/binary", "wasm/record", "wasm/team"],
  ],
  "wasm/narrow": [
    ...["operations", "tensor"],
    ...["wasm/attention", "wasm/binary", "wasm/memory", "wasm/record", "wasm/team"],
  ],
  "wasm/scored": [
    ...["contract", "operations", "scores", "tensor"],
    ...[
      "wasm/attention",
      "wasm/backward",
      "wasm/binary",
      "wasm/memory",
      "wasm/record",
      "wasm/team",
    ],
  ],
  // Gradients by values alone, of calls with functions, too.
  "wasm/weights": [
    ...["contract", "operations", "tensor"],
    ...["wasm/attention", "wasm/backward", "wasm/binary", "wasm/scored", "wasm/team"],
  ],
  "wasm/linear": [
    "wasm/rows",
    ...["contract", "operations", "tensor", "wasm/attention", "wasm/backward"],
    ...["wasm/binary", "wasm/memory", "wasm/record", "wasm/team"],
  ],
  "wasm/nn": [
    "wasm/rows",
    ...["contract", "operations", "tensor", "wasm/attention"],
    ...["wasm/binary", "wasm/memory", "wasm/record", "wasm/team"],
  ],
  "wasm": ["check", "contract", "operations", "runtime", "tensor", "wasm/*"],

  "webgpu/shader": ["contract", "tensor"],
  "webgpu/device": ["check", "runtime", "webgpu/shader"],
  "webgpu/transfer": ["tensor", "webgpu/device", "webgpu/shader"],
  "webgpu/pages": [
    ...["check", "contract", "tensor"],
    ...["webgpu/device", "webgpu/shader", "webgpu/transfer"],
  ],
  "webgpu/attention": [
    ...["check", "contract", "masks", "operations", "runtime", "scores", "tensor"],
    ...["webgpu/device", "webgpu/pages", "webgpu/shader", "webgpu/transfer"],
  ],
  "webgpu/backward": [
    ...["check", "contract", "operations", "runtime", "tensor"],
    ...["webgpu/attention", "webgpu/device", "webgpu/shader", "webgpu/transfer"],
  ],
  "webgpu/rows": [
    "webgpu/weights",
    ...["check", "contract", "operations", "tensor"],
    ...["webgpu/attention", "webgpu/device", "webgpu/shader", "webgpu/transfer"],
  ],
  "webgpu/integer": [
    ...["check", "contract", "operations"],
    ...["webgpu/attention", "webgpu/device", "webgpu/pages", "webgpu/shader", "webgpu/transfer"],
  ],
  "webgpu/scored": [
    ...["contract", "operations", "scores", "tensor", "webgpu/attention", "webgpu/backward"],
    ...["webgpu/device", "webgpu/shader", "webgpu/transfer"],
  ],
  "webgpu/weights": [
    ...["contract", "operations", "tensor", "webgpu/backward", "webgpu/device", "webgpu/scored"],
  ],
  "webgpu/linear": [
    "webgpu/rows",
    ...["check", "contract", "operations", "tensor"],
    ...["webgpu/attention", "webgpu/device", "webgpu/shader", "webgpu/transfer"],
  ],
  "webgpu/nn": [
    ...["check", "contract", "operations", "tensor"],
    ...["webgpu/device", "webgpu/shader", "webgpu/transfer"],
  ],
  "webgpu": ["check", "contract", "operations", "runtime", "tensor", "webgpu/*"],

  "engine": ["cache", "check", "contract", "operations", "runtime", "tensor", "wasm", "webgpu"],
  "linear": ["check", "contract", "functions", "operations", "tensor", "late runners"],
  "nn": ["check", "contract", "functions", "operations", "tensor", "late runners"],
  "wide": ["runtime", "wasm"],
  "models": [
    ...["cache", "check", "contract", "engine", "functions", "nn"],
    ...["operations", "runtime", "tensor"],
  ],
  "sharded": [
    ...["cache", "check", "contract", "engine"],
    ...["functions", "operations", "runtime", "tensor"],
  ],
  "functions": ["cache", "check", "contract", "engine", "operations", "tensor"],
};

/** What the rest of the tree may take of a backend's rooms. */
const doors: Readonly<Record<string, string>> = {
  "wasm/binary/choice.ts": "wasm",
  "wasm/binary/module.ts": "wasm",
  "wasm/backend.ts": "wasm",
  "webgpu/open.ts": "webgpu",
  "wasm/linear/runners.ts": "late runners",
  "wasm/nn/runners.ts": "late runners",
  "webgpu/linear/runners.ts": "late runners",
  "webgpu/nn/runners.ts": "late runners",
};

/** What `deno task mutate` puts into its copy of the sources. */
const switches = "tools/mutate/mutants.ts";

/** The package's entries, which export everything. */
const entries = [
  ...["engine/edge_light.ts", "engine/workerd.ts"],
  ...["linear/edge_light.ts", "linear/workerd.ts"],
  ...["models/edge_light.ts", "models/workerd.ts"],
  ...["nn/edge_light.ts", "nn/workerd.ts"],
];

const sources = readdirSync("src", { recursive: true, encoding: "utf8" })
  .map((path) => path.replaceAll("\\", "/"))
  .filter((path) => path.endsWith(".ts"))
  .sort();

/** The modules that a source imports, those of types and those that are loaded later among them. */
function importsOf(path: string): string[] {
  const text = readFileSync(`src/${path}`, "utf8");
  const code = text.replace(/^\s*\*.*$/gm, ""); // Examples in comments import the package.
  const named = code.matchAll(/(?:\bfrom\s|\bimport\s|\bimport\()\s*"(\.[^"]+\.ts)"/g);
  return [...named].map(([, target]) => new URL(target, `file:///${path}`).pathname.slice(1))
    .filter((to) => to !== switches);
}

/** The room that a source is in: for backends and what is below them the folder within the backend. */
function roomOf(path: string): string {
  const parts = path.replace(/\.ts$/, "").split("/"), [first, second] = parts;
  const isBackend = first === "wasm" || first === "webgpu";
  return isBackend && parts.length > 2 ? `${first}/${second}` : first;
}

function mayImport(from: string, to: string): boolean {
  const [room, other] = [roomOf(from), roomOf(to)], most = allowed[room] ?? [];
  const [backend] = room.split("/");
  if (room === other || most.includes(other)) return true;
  return (room === backend && other.startsWith(`${backend}/`) && most.includes(`${backend}/*`)) ||
    (to in doors && most.includes(doors[to]));
}

test("sources import only from rooms below their own", () => {
  const wrong = sources.filter((from) => !entries.includes(from)).flatMap((from) =>
    importsOf(from).filter((to) => !mayImport(from, to)).map((to) => `${from} imports ${to}`)
  );
  assertEquals(wrong, []);
});

test("every source is in a room of the table", () => {
  assertEquals(sources.filter((path) => !(roomOf(path) in allowed)), []);
  assert(sources.length > 90, `only ${sources.length} sources`);
});

test("no source imports itself, over whatever others", () => {
  const targets = new Map(sources.map((path) => [path, importsOf(path)]));
  const done = new Set<string>();
  const walk = (path: string, above: readonly string[]): void => {
    assert(!above.includes(path), `a circle: ${[...above, path].join(" -> ")}`);
    if (done.has(path)) return;
    for (const to of targets.get(path) ?? []) walk(to, [...above, path]);
    done.add(path);
  };
  for (const path of sources) if (!entries.includes(path)) walk(path, []);
});

/** Words that are not used for these things, and which are: one word for one thing. */
const glossary: Readonly<Record<string, string>> = {
  "visit": "key interval",
  "few": "decode",
  "fold": "merge, of results over disjoint keys",
  "mend": "fix",
  "hide": "zero, of values that nobody sees",
  "brain": "bf16",
  "half": "f16",
  "follow": "refresh",
  "stretch": "run",
  "settle": "flush, release, reset, or wait",
};

/** Names that have such a word in them all the same: of the public surface, or of another thing. */
const excepted = /^visited$/;

/** Names that are declared in sources, kernels and shaders. */
function declaredNames(): Map<string, string> {
  const names = new Map<string, string>();
  for (const [folder, ending] of [["src", ".ts"], ["asm", ".ts"], ["shaders", ".wgsl"]] as const) {
    for (const path of readdirSync(folder, { recursive: true, encoding: "utf8" })) {
      if (!path.endsWith(ending)) continue;
      const text = readFileSync(`${folder}/${path}`, "utf8");
      const declared = text.matchAll(
        /^(?:export )?(?:async )?(?:function\*?|const|let|class|interface|type|fn|var<\w+>) (\w+)/gm,
      );
      for (const [, name] of declared) names.set(name, `${folder}/${path}`);
    }
  }
  return names;
}

test("names are made of the words of the glossary", () => {
  const wrong: string[] = [];
  for (const [name, path] of declaredNames()) {
    const words = name.split(/(?=[A-Z])|_|\d+/).map((word) => word.toLowerCase());
    const bad = words.find((word) => Object.hasOwn(glossary, word.replace(/(ed|s)$/, "")));
    if (bad === undefined || excepted.test(name)) continue;
    wrong.push(`${path}: ${name} (${bad}): ${glossary[bad.replace(/(ed|s)$/, "")]}`);
  }
  assertEquals(wrong, []);
});
