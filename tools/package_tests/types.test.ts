/**
 * The package's types, as compilers read them in users' projects: every declaration is checked.
 *
 * @module
 */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { install, versions } from "../install.ts";
import { runIn } from "./child.ts";
import { makeProject, npmInstall, sourceOf } from "./project.ts";

const project = makeProject("types", npmInstall, [
  `@types/node@${versions.nodeTypes}`,
  `@webgpu/types@${versions.webgpuTypes}`,
  `@cloudflare/workers-types@${versions.workersTypes}`,
]);
for (const name of ["types.ts", "plain_types.ts"]) {
  writeFileSync(join(project, name), sourceOf(name));
}

interface Setting {
  readonly name: string;
  readonly options: Readonly<Record<string, unknown>>;
  /** Programs; both unless it is said. */
  readonly files?: readonly string[];
}

/** Projects without any declaration of WebGPU, with those of one library, and of another. */
const settings: readonly Setting[] = [
  {
    name: "neither the DOM nor Node",
    options: {
      ...{ module: "nodenext", lib: ["es2022"], types: [] },
      exactOptionalPropertyTypes: true,
    },
    files: ["plain_types.ts"],
  },
  { name: "ES2022 and Node", options: { module: "nodenext", lib: ["es2022"], types: ["node"] } },
  {
    name: "the DOM, for a bundler",
    options: {
      ...{ module: "esnext", moduleResolution: "bundler", lib: ["esnext", "dom"], types: [] },
      ...{ exactOptionalPropertyTypes: true, noUncheckedIndexedAccess: true },
    },
  },
  {
    name: "Cloudflare Workers",
    options: {
      ...{ module: "esnext", moduleResolution: "bundler", lib: ["esnext"] },
      types: ["@cloudflare/workers-types"],
    },
  },
];

/** Newer compilers have WebGPU in their DOM, which this package contradicts. */
const withWebGpuTypes: Setting = {
  name: "@webgpu/types",
  options: { module: "nodenext", lib: ["esnext", "dom"], types: ["@webgpu/types"] },
};

const bothPrograms = ["types.ts", "plain_types.ts"];

/** The command that compiles a project of these settings. */
function compile(
  typescript: string,
  { name, options, files = bothPrograms }: Setting,
): readonly string[] {
  const modules = install("types", [`typescript@${typescript}`]);
  const compilerOptions = {
    ...{ strict: true, skipLibCheck: false, noEmit: true, target: "es2022" },
    ...options,
  };
  const file = `tsconfig.${typescript}.${name.replace(/\W+/g, "-")}.json`;
  writeFileSync(join(project, file), JSON.stringify({ compilerOptions, files }));
  return [join(modules, ".bin", "tsc"), "--project", file];
}

function testTypes(typescript: string, setting: Setting): void {
  test(`the npm package's types check in TypeScript ${typescript} with ${setting.name}`, () => {
    runIn(project, compile(typescript, setting));
  });
}

for (const setting of [...settings, withWebGpuTypes]) testTypes(versions.typescript5, setting);
for (const setting of settings) testTypes(versions.typescript, setting);

/** Wrong options, in the call and in a variable, and what the compiler must say of each. */
const wrong = [
  ["await attention(q, q, q, { causal: true, sofcap: 30 });", "'sofcap' does not exist"],
  ["await attention(q, q, q, { window: '3' });", "Type 'string' is not assignable"],
  ["const a = { scale: '1' }; await attention(q, q, q, a);", "property 'scale' are incompatible"],
  ["await attention(q, cache, { kvLengths: [1] });", "'kvLengths' does not exist"],
  ["await attention(q, q);", "Expected 3-4 arguments"],
  ["const b = { lengths: 1 }; await cache.attend(q, b);", "property 'lengths' are incompatible"],
  ["const c = { backend: 'cpu' }; await createEngine(c);", "property 'backend' are incompatible"],
] as const;

for (const typescript of [versions.typescript5, versions.typescript]) {
  test(`TypeScript ${typescript} says which option is wrong`, () => {
    const program = [
      'import { attention, createEngine, type KvCache, type Tensor } from "flashtile";',
      "declare const q: Tensor, cache: KvCache;",
      ...wrong.map(([line]) => line),
      "export {};",
    ];
    const name = "wrong.ts", first = program.indexOf(wrong[0][0]) + 1;
    writeFileSync(join(project, name), program.join("\n"));
    const [file, ...args] = compile(typescript, {
      name: "wrong options",
      options: { module: "nodenext", lib: ["es2022"], types: [] },
      files: [name],
    });
    const { stdout } = spawnSync(file, args, { cwd: project, encoding: "utf8" });
    for (const [at, [, words]] of wrong.entries()) {
      const said = stdout.split(/^(?=wrong\.ts)/m)
        .filter((message) => message.startsWith(`${name}(${first + at},`));
      assertEquals(said.length, 1, `line ${first + at}:\n${stdout}`);
      assertStringIncludes(said[0], words);
    }
    assert(!stdout.includes("No overload"), stdout);
  });
}
