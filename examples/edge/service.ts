/**
 * What can be asked, and the answers.
 *
 * @module
 */

import { mostBodyBytes, mostTextBytes, mostTexts, readFields, textOf, textsOf } from "./body.ts";
import { cosine, type Embedder } from "./embedder.ts";
import { Refusal } from "./refusal.ts";
import { ownTexts } from "./texts.ts";

/** What is asked by a method at a path. */
interface Route {
  readonly method: "GET" | "POST";
  answer(request: Request): unknown;
}

/** Answers requests. Of one nothing is kept for the next. */
export class Service {
  readonly #embedder: Embedder;
  /** Vectors of the texts that everybody searches, made at the first search. */
  #own: Float32Array[] | undefined;
  readonly #routes: ReadonlyMap<string, Route> = new Map<string, Route>([
    ["/", { method: "GET", answer: () => this.#describe() }],
    ["/embed", { method: "POST", answer: (request) => this.#embed(request) }],
    ["/search", { method: "POST", answer: (request) => this.#search(request) }],
  ]);

  /** @param embedder Makes the vectors. */
  constructor(embedder: Embedder) {
    this.#embedder = embedder;
  }

  /** Answers a request; never rejects. */
  async answer(request: Request): Promise<Response> {
    try {
      return Response.json(await this.#route(request).answer(request));
    } catch (error) {
      if (error instanceof Refusal) {
        const { status, headers, message } = error;
        return Response.json({ error: message }, { status, headers });
      }
      console.error(error); // Who asks learns nothing of what is inside.
      return Response.json({ error: "the server is at fault" }, { status: 500 });
    }
  }

  #route({ url, method }: Request): Route {
    const { pathname } = new URL(url), route = this.#routes.get(pathname);
    if (route === undefined) {
      throw new Refusal(404, `there is no such path, only ${[...this.#routes.keys()].join(", ")}`);
    }
    if (method === route.method) return route;
    throw new Refusal(405, `the method must be ${route.method}`, { allow: route.method });
  }

  #describe(): unknown {
    const { name: model, dimensions: dim, maxTokens, reason, memoryBytes } = this.#embedder;
    const most = { bodyBytes: mostBodyBytes, texts: mostTexts, bytes: mostTextBytes };
    return { model, dim, most: { ...most, tokensOfText: maxTokens }, reason, memoryBytes };
  }

  async #embed(request: Request): Promise<unknown> {
    const { name: model, dimensions: dim } = this.#embedder;
    const { texts } = await readFields(request, ["texts"]);
    const vectors = await this.#embedder.embed(textsOf(texts, "texts", this.#embedder));
    return { model, dim, embeddings: vectors.map((vector) => [...vector]) };
  }

  async #search(request: Request): Promise<unknown> {
    const embedder = this.#embedder, fields = await readFields(request, ["query", "texts"]);
    const query = textOf(fields.query, "query", embedder);
    const given = fields.texts === undefined ? undefined : textsOf(fields.texts, "texts", embedder);
    const [wanted] = await embedder.embed([query]);
    const vectors = await (given === undefined ? this.#ownVectors() : embedder.embed(given));
    const results = (given ?? ownTexts)
      .map((text, at) => ({ text, score: cosine(wanted, vectors[at]) }))
      .sort((a, b) => b.score - a.score);
    return { model: embedder.name, results };
  }

  async #ownVectors(): Promise<Float32Array[]> {
    return this.#own ??= await this.#embedder.embed(ownTexts);
  }
}
