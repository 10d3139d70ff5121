/**
 * A worker that computes and compares in its handler, where nothing may be compiled.
 *
 * @module
 */

import { check } from "./check.ts";

export default {
  async fetch(): Promise<Response> {
    try {
      return Response.json(await check());
    } catch (error) {
      return new Response((error as Error).stack, { status: 500 });
    }
  },
};
