// Which program is built of sources that several have; builds of the others have true in one place.

// The one for engines that join two neighbouring operations on 128 bits to one on 256 (V8, where it is asked to): see wide/.
export const WIDE: bool = false;

// The one whose scores go through programs of score and mask functions: see scored/.
export const SCORED: bool = false;

// The one whose gradients are only those of values: sums of weights, see weights/.
export const WEIGHTS: bool = false;
