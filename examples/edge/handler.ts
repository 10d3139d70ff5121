/**
 * What workerd calls.
 *
 * @module
 */

import type { Embedder } from "./embedder.ts";
import { Service } from "./service.ts";

/** What workerd passes to a handler, as far as it is used. */
interface Context {
  waitUntil(promise: Promise<unknown>): void;
}

/** The default export of a worker. */
export interface Handler {
  fetch(request: Request, bindings: unknown, context: Context): Promise<Response>;
}

/** A handler that serves a model. */
export function handlerOf(embedder: Embedder): Handler {
  const service = new Service(embedder);
  return {
    fetch(request, _bindings, context) {
      const answer = service.answer(request);
      // To its end though the client is gone: the model's memory is everybody's.
      context.waitUntil(answer);
      return answer;
    },
  };
}
