/**
 * Figures that others have published, beside which the story puts its own.
 *
 * @module
 */

/** One attention layer there and back on an A100 (arXiv 2205.14135, figure 2, left). */
export const firstPaper = [
  { what: "GFLOPs", standard: 66.6, flash: 75.2 },
  { what: "HBM reads and writes, GB", standard: 40.3, flash: 4.4 },
  { what: "time, ms", standard: 41.7, flash: 7.3 },
] as const;

/** Training speed in TFLOPs/s a GPU, on eight A100 (arXiv 2307.08691, table 1). */
export const secondPaper = [
  { what: "GPT3-1.3B, 2k tokens", without: 142, flash1: 189, flash2: 196 },
  { what: "GPT3-1.3B, 8k tokens", without: 72, flash1: 170, flash2: 220 },
  { what: "GPT3-2.7B, 2k tokens", without: 149, flash1: 189, flash2: 205 },
  { what: "GPT3-2.7B, 8k tokens", without: 80, flash1: 175, flash2: 225 },
] as const;

/**
 * Milliseconds as introductions to FlashAttention give them, on hardware and at sizes of their own:
 * only how they grow can be compared.
 */
export const introductions = [
  { length: 512, standard: 12.3, flash: 7.1, withoutCache: 34.5, withCache: 18.2 },
  { length: 1024, standard: 45.8, flash: 22.6, withoutCache: 78.6, withCache: 35.1 },
  { length: 2048, standard: 178.6, flash: 87.3, withoutCache: 150.2, withCache: 65.9 },
] as const;

/** Where the published figures are from. */
export const sources = {
  firstPaper: "Dao et al., FlashAttention, arXiv 2205.14135, figure 2",
  secondPaper: "Dao, FlashAttention-2, arXiv 2307.08691, table 1",
} as const;
