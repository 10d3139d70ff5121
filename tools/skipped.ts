/**
 * Why a daily run of the tests skipped some, in a line for each reason. Deno's report does not say: the
 * names do.
 *
 * @module
 */

/** Names of the tests that a JUnit report calls skipped. */
export function skippedIn(report: string): string[] {
  const cases = report.matchAll(/<testcase\b[^>]*? ?\bname="([^"]*)"[^>]*?>\s*<skipped\b/g);
  return Array.from(cases, ([, name]) => name);
}

/** Reasons in order: the first that fits a name is its. */
const reasons: readonly (readonly [RegExp, string])[] = [
  [/\(webgpu[^)]*\)$/, "need a GPU, or a program in its place: deno task test:gpu"],
  [/^/, "take long, or are about other runtimes or other models: deno task test:all"],
];

/** A line for each reason, and how many tests were skipped for it. */
export function whySkipped(names: readonly string[]): string[] {
  const counts = reasons.map(() => 0);
  for (const name of names) counts[reasons.findIndex(([names]) => names.test(name))]++;
  return reasons.flatMap(([, words], at) =>
    counts[at] === 0 ? [] : [`Skipped ${counts[at]}: they ${words}`]
  );
}
