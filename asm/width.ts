// Whether this is the program for engines that join two neighbouring operations on 128 bits to one on 256 (V8, where it
// is asked to). The build of that program has true here; see asm/wide/.
export const WIDE: bool = false;
