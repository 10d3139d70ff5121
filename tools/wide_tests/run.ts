/**
 * The wide program on Node, widened from the first call on: the contract's tests, and those of what V8 makes of it.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { bundleForNode, filesOf } from "../bundle_tests.ts";
import { versions } from "../install.ts";
import { nodeTests, ofBunAndNode, type TestRun, toolTests } from "../test_runs.ts";

/** Names of the tests of the program end with it. */
const names = String.raw`\(wasm wide\)$`;

/** Has V8 make its best code at once, and widen it. */
const widened = ["--no-liftoff", "--experimental-wasm-revectorize"];

/** Both; `folder` is for bundles. */
export function wideRuns(folder: string): TestRun[] {
  const tests = () =>
    filesOf(bundleForNode(folder), ".test.mjs")
      .filter((file) => /\/(contract|gradients|linear|nn)\//.test(file));
  return [
    {
      name: `Node ${versions.node26}, wide, widened`,
      names,
      lane: ofBunAndNode,
      tests: (report) => ({
        ...nodeTests(versions.node26, report, tests(), [
          ...widened,
          `--test-name-pattern=${names}`,
        ]),
        environment: { FLASHTILE_WIDE: "1" },
      }),
    },
    {
      name: `Node ${versions.node26}, wide: what V8 makes of it`,
      patience: 900,
      tests: (report) => toolTests(report, fileURLToPath(new URL(".", import.meta.url))),
    },
  ];
}
