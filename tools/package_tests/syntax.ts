/**
 * What a script has that Node 20 lacks: ESLint reads it as ES2023, and eslint-plugin-es-x knows what
 * came later. eslint-plugin-n, which is made for this, finds less: neither `Float16Array` nor
 * `Array.fromAsync()`, nor any method of an object.
 *
 * @module
 */

import { createRequire } from "node:module";
import { join } from "node:path";
import { install, runtimeProgram, versions } from "../install.ts";
import { root } from "../test_runs.ts";
import { runIn } from "./child.ts";

/** What ESLint says of a place. */
interface Message {
  readonly ruleId: string | null;
  readonly message: string;
  readonly line: number;
  readonly column: number;
}

type Rules = Readonly<Record<string, unknown>>;

const require = createRequire(join(
  install("eslint", [`eslint@${versions.eslint}`, `eslint-plugin-es-x@${versions.eslintEsX}`]),
  "package.json",
));
const { Linter } = require("eslint") as {
  Linter: new () => { verify(code: string, config: unknown): Message[] };
};
const plugin = require("eslint-plugin-es-x") as {
  configs: Readonly<Record<string, { readonly rules: Rules }>>;
};

/** Rules for methods which arrays have under the same names: tsc tells these apart, by types. */
const needTypes = /^es-x\/no-iterator-prototype-/;

/** How strict a rule is: methods of objects are known by their names alone. */
function optionsOf(rule: string): unknown[] {
  const byName = /-prototype-/.test(rule) && !needTypes.test(rule);
  return byName ? ["error", { aggressive: true }] : ["error"];
}

/** What came after ES2023, all of which Node 20 has. */
const later = ["flat/restrict-to-es2023", "flat/no-new-in-esnext"].flatMap((name) =>
  Object.keys(plugin.configs[name].rules)
);

/** Names that Node 20 has without an import. */
function globalsOfNode20(): Rules {
  const node = runtimeProgram("node", versions.node20);
  const names = "JSON.stringify(Object.getOwnPropertyNames(globalThis))";
  const { stdout } = runIn(root, [node, "--print", names]);
  return Object.fromEntries(JSON.parse(stdout).map((name: string) => [name, "readonly"]));
}

const globals = globalsOfNode20();

function config(sourceType: SourceType): Rules {
  return {
    plugins: { "es-x": plugin },
    settings: { "es-x": { allowTestedProperty: true } },
    linterOptions: { noInlineConfig: true },
    languageOptions: { ecmaVersion: 2023, sourceType, globals },
    rules: {
      ...Object.fromEntries(later.map((rule) => [rule, optionsOf(rule)])),
      "no-undef": "error", // But for `typeof NAME`.
    },
  };
}

/** What the package has all the same, and why it may. */
const allowed: readonly { readonly rule: string; readonly at: RegExp; readonly reason: string }[] =
  [
    {
      rule: "es-x/no-symbol-dispose",
      at: /^Symbol\.dispose\]/,
      reason: "a key of an object, for `using` of those who have it; else nobody asks for it",
    },
    {
      rule: "es-x/no-symbol-asyncdispose",
      at: /^Symbol\.asyncDispose\]/,
      reason: "likewise, for `await using`",
    },
    {
      rule: "es-x/no-uint8array-frombase64",
      at: /^fromBase64(?:: ?\w+)? ?\} ?= ?Uint8Array;/,
      reason: "taken out and compared with `undefined` before it is called",
    },
    {
      rule: "no-undef",
      at: /^Worker\(/,
      reason: "in browsers: Node has `node:worker_threads`, which is asked for first",
    },
    {
      rule: "no-undef",
      at: /^onmessage(?:error)? = /,
      reason: "in a browser's worker: Node has `node:worker_threads` there too",
    },
  ];

/** How far before its use a name may be tested, in characters. */
const near = 120;

/** Whether a class is used where `typeof` was asked of it right before. */
function isTested(text: string, at: number): boolean {
  const [name] = text.slice(at).match(/^[\w$]+/) ?? [];
  return name !== undefined && text.slice(Math.max(0, at - near), at).includes(`typeof ${name}`);
}

/** Whether a script is a module. */
export type SourceType = "module" | "script";

/** What a script has that Node 20 lacks, each with the text that it stands in. */
export function unsupported(text: string, sourceType: SourceType = "module"): string[] {
  const lines = text.split("\n");
  return new Linter().verify(text, config(sourceType)).flatMap(
    ({ ruleId, message, line, column }) => {
      const before = lines.slice(0, line - 1).reduce((sum, { length }) => sum + length + 1, 0);
      const at = before + column - 1, there = text.slice(at, at + 40);
      const passes = allowed.some(({ rule, at }) => rule === ruleId && at.test(there));
      return passes || isTested(text, at) ? [] : [`${ruleId}: ${message} ${there}`];
    },
  );
}
