/**
 * What the page's results are held to.
 *
 * @module
 */

/** Largest difference from the oracle that an f32 result may have on the page's inputs. */
export const tolerance = 5e-6;
