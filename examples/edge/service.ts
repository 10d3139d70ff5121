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

const name = "examples/llama";

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
    const { config: { hiddenSize, context }, reason, memoryBytes } = this.#embedder;
    const most = { bodyBytes: mostBodyBytes, texts: mostTexts, bytes: mostTextBytes };
    return {
      model: name,
      dim: hiddenSize,
      most: { ...most, bytesOfText: context },
      reason,
      memoryBytes,
    };
  }

  async #embed(request: Request): Promise<unknown> {
    const { texts } = await readFields(request, ["texts"]);
    const embeddings: number[][] = [];
    for (const { bytes } of textsOf(texts, "texts", this.#embedder.config.context)) {
      embeddings.push([...await this.#embedder.embed(bytes)]);
    }
    return { model: name, dim: this.#embedder.config.hiddenSize, embeddings };
  }

  async #search(request: Request): Promise<unknown> {
    const { context } = this.#embedder.config;
    const fields = await readFields(request, ["query", "texts"]);
    const query = textOf(fields.query, "query", context);
    const given = fields.texts === undefined ? undefined : textsOf(fields.texts, "texts", context);
    const wanted = await this.#embedder.embed(query.bytes);
    const vectors =
      await (given ? this.#vectorsOf(given.map(({ bytes }) => bytes)) : this.#ownVectors());
    const results = (given?.map(({ text }) => text) ?? ownTexts)
      .map((text, at) => ({ text, score: cosine(wanted, vectors[at]) }))
      .sort((a, b) => b.score - a.score);
    return { model: name, results };
  }

  async #ownVectors(): Promise<Float32Array[]> {
    return this.#own ??= await this.#vectorsOf(
      ownTexts.map((text) => new TextEncoder().encode(text)),
    );
  }

  async #vectorsOf(texts: readonly Uint8Array[]): Promise<Float32Array[]> {
    const vectors: Float32Array[] = [];
    for (const bytes of texts) vectors.push(await this.#embedder.embed(bytes));
    return vectors;
  }
}
