/**
 * Text in columns.
 *
 * @module
 */

/** Columns of a terminal that the story is written for. */
const width = 92;

/** Breaks words into lines. */
export function wrap(words: string, indent = ""): string {
  const lines = [indent];
  for (const word of words.split(" ")) {
    const line = lines.at(-1)!;
    if (line.length + word.length > width) lines.push(indent + word);
    else lines[lines.length - 1] = line === indent ? line + word : `${line} ${word}`;
  }
  return lines.join("\n");
}

/** Aligns cells: the first of each row to the left, the others to the right. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  const line = (row: readonly string[]) =>
    row.map((cell, column) => column === 0 ? cell.padEnd(widths[0]) : cell.padStart(widths[column]))
      .join("   ").trimEnd();
  return rows.map((row) => `  ${line(row)}`).join("\n");
}

/** A bar as long as a share of the greatest. */
export function bar(share: number, length = 28): string {
  const eighths = Math.max(1, Math.round(share * length * 8));
  const rest = eighths % 8;
  return "█".repeat(Math.floor(eighths / 8)) + (rest === 0 ? "" : "▏▎▍▌▋▊▉"[rest - 1]);
}
