/**
 * Every peer; the first is FlashTile.
 *
 * @module
 */

import { flashtile } from "./flashtile.ts";
import { jax } from "./jax.ts";
import { naive } from "./naive.ts";
import { nativeAttention, webAttention, webMultiHeadAttention } from "./onnxruntime.ts";
import type { Peer } from "./peer.ts";
import { tfjs } from "./tfjs.ts";

/** In the order of the tables. */
export const peers: readonly Peer[] = [
  flashtile,
  webAttention,
  webMultiHeadAttention,
  jax,
  tfjs,
  naive,
  nativeAttention,
];

/** The peer of that name. */
export function peerNamed(name: string): Peer {
  const peer = peers.find((candidate) => candidate.name === name);
  if (peer === undefined) throw new Error(`No peer is named ${name}`);
  return peer;
}
