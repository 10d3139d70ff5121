/**
 * The text of shaders: of those in `shaders/`, with what is made for each. Those in `shaders/rows/` come with who
 * dispatches them, which not every program does.
 *
 * @module
 */

import { type Fields, parametersSource } from "./parameters.ts";
import { segmentSource } from "./segment.ts";
import { shaders } from "./shaders.gen.ts";
import { type Constants, expand, type Sources } from "./template.ts";

/** The WGSL of a shader whose uniforms have such fields; `more` where it is not among those of all programs. */
export function codeOf(
  path: string,
  fields: Fields,
  constants: Constants,
  more?: Sources,
): string {
  const made = {
    "shared/parameters.wgsl": parametersSource(fields),
    "shared/segment.wgsl": segmentSource(),
  };
  return expand(path, { ...shaders, ...more, ...made }, constants);
}
