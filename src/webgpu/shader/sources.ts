/**
 * The text of shaders: of those in `shaders/`, with what is made for each.
 *
 * @module
 */

import { type Fields, parametersSource } from "./parameters.ts";
import { segmentSource } from "./segment.ts";
import { shaders } from "./shaders.gen.ts";
import { type Constants, expand } from "./template.ts";

/** The WGSL of a shader whose uniforms have such fields. */
export function codeOf(path: string, fields: Fields, constants: Constants): string {
  const made = {
    "shared/parameters.wgsl": parametersSource(fields),
    "shared/segment.wgsl": segmentSource(),
  };
  return expand(path, { ...shaders, ...made }, constants);
}
