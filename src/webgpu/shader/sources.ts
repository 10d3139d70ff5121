/**
 * The text of every shader by its path: those of `shaders/`, and those that are made.
 *
 * @module
 */

import { parametersSource } from "./parameters.ts";
import { segmentSource } from "./segment.ts";
import { shaders } from "./shaders.gen.ts";
import type { Sources } from "./template.ts";

export const sources: Sources = {
  ...shaders,
  "shared/parameters.wgsl": parametersSource(),
  "shared/segment.wgsl": segmentSource(),
};
