/**
 * What a file is that is not what it should be: a page that a server gave instead, a pointer to a file that
 * was not fetched, or weights of another format.
 *
 * @module
 */

/** How files begin that are taken for weights, and what they are. */
const beginnings: readonly (readonly [RegExp | string, string])[] = [
  ["GGUF", "a GGUF file"],
  ["version ", "a Git LFS pointer: the file itself was not fetched (`git lfs pull`)"],
  [/^\s*<[!?a-z]/i, "a web page: the address gives a page, not the file"],
  [/^\s*[{[]\s*["{\]}]/, "JSON: the index of a sharded model, or an answer that is an error"],
  ["PK\u0003\u0004", "a zip file, as PyTorch writes it: convert it to safetensors"],
  ["\u0080\u0002", "a pickle, as PyTorch writes it: convert it to safetensors"],
  ["\u001f\u008b", "a gzip file: unpack it"],
];

/** Says what some first bytes look like, in the words that a sentence ends with; nothing if like nothing. */
export function looksLike(bytes: Uint8Array): string {
  const text = String.fromCharCode(...bytes.subarray(0, 64));
  const found = beginnings.find(([begins]) =>
    typeof begins === "string" ? text.startsWith(begins) : begins.test(text)
  );
  return found === undefined ? "" : `; it looks like ${found[1]}`;
}
