/**
 * A worker that does nothing: what others are compared with.
 *
 * @module
 */

export default {
  fetch: (): Response => new Response("{}"),
};
