/**
 * Headers by which a page is cross-origin isolated.
 *
 * @module
 */

/** So that memory can be shared, which threads need. */
export const isolation = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
} as const;
