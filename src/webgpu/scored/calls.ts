/**
 * Names that what is written of functions and shaders have in common: `tools/build_shaders.ts` leaves them as they are.
 *
 * @module
 */

/** What is written of functions, by what shaders call it. */
export const written = {
  ...{ changed: "changed", shown: "shown", slope: "score_gradient", terms: "array_terms" },
  ...{ ranges: "ranges_of", kind: "kind_of_functions" },
} as const;

/** Functions of `shaders/scored/numbers.wgsl`. */
export const calls = {
  ...{ literal: "literal", wholeLiteral: "whole_literal" },
  ...{ elements: "elements", wholeElements: "whole_elements" },
  ...{ min: "lesser", max: "greater", floorDiv: "floor_quotient", mod: "floor_rest" },
  ...{ ifloorDiv: "whole_quotient", imod: "whole_rest", toI32: "whole_of" },
  ...{ exp: "power_of_e", log: "logarithm", sigmoid: "sigmoid", tanh: "tanh_of" },
} as const;

/** Those of `shaders/scored/ranges.wgsl`. */
export const rangeCalls = {
  ...{ literal: "range_literal", gather: "range_elements" },
  ...{ iadd: "range_sum", isub: "range_difference", imul: "range_product" },
  ...{ ifloorDiv: "range_quotient", imod: "range_rest", iabs: "range_size" },
  ...{ ineg: "range_negative", ilt: "range_less", ile: "range_at_most" },
  ...{ ieq: "range_equal", select: "range_choice" },
} as const;

/** Names of theirs. */
const types = ["Place", "RowRange", "ArrayTerms", "ANYTHING", "SKIPPED", "WHOLE", "MIXED"];

/** All of them. */
export const keptNames: readonly string[] = [
  ...types,
  ...[written, calls, rangeCalls].flatMap((some) => Object.values(some)),
];
