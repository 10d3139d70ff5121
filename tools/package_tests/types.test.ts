/**
 * The package's types, as compilers read them in users' projects: every declaration is checked.
 *
 * @module
 */

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
writeFileSync(join(project, "types.ts"), sourceOf("types.ts"));

interface Setting {
  readonly name: string;
  readonly options: Readonly<Record<string, unknown>>;
}

/** Projects without any declaration of WebGPU, with those of one library, and of another. */
const settings: readonly Setting[] = [
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

function testTypes(typescript: string, { name, options }: Setting): void {
  test(`the npm package's types check in TypeScript ${typescript} with ${name}`, () => {
    const modules = install("types", [`typescript@${typescript}`]);
    const compilerOptions = {
      ...{ strict: true, skipLibCheck: false, noEmit: true, target: "es2022" },
      ...options,
    };
    const file = `tsconfig.${typescript}.${name.replace(/\W+/g, "-")}.json`;
    writeFileSync(join(project, file), JSON.stringify({ compilerOptions, files: ["types.ts"] }));
    runIn(project, [join(modules, ".bin", "tsc"), "--project", file]);
  });
}

for (const setting of [...settings, withWebGpuTypes]) testTypes(versions.typescript5, setting);
for (const setting of settings) testTypes(versions.typescript, setting);
