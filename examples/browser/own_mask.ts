/**
 * A mask of the reader's own: the text of a function, which becomes a module of the page and draws which keys are seen.
 *
 * @module
 */

import { attention, captured, type MaskMod, tensor, where } from "@flashtile/attention";

/** Queries, and keys, of the picture. */
export const size = 24;

/** What the module of a text has: the library's words are given, since a blob imports nothing by name. */
type Module = {
  readonly default: (words: { captured: typeof captured; where: typeof where }) => MaskMod;
};

/** The source of a module whose function a text is. */
export function sourceOf(text: string): string {
  return `export default ({ captured, where }) => (\n${text}\n);\n`;
}

/** Makes a function of a text: a module from a blob, and not `eval()`, which pages may forbid. */
async function functionOf(text: string): Promise<MaskMod> {
  const url = URL.createObjectURL(new Blob([sourceOf(text)], { type: "text/javascript" }));
  try {
    const { default: make }: Module = await import(url);
    return make({ captured, where });
  } finally {
    URL.revokeObjectURL(url);
  }
}

/**
 * Which keys each query sees, row by row, as `attention()` finds: with queries of zeros all that are seen weigh alike, and with
 * the identity as values the result says which these are.
 */
export async function seenBy(maskMod: MaskMod): Promise<boolean[][]> {
  const places = Array.from({ length: size }, (_, at) => at);
  const zeros = tensor(new Float32Array(size), [size, 1]);
  const identity = places.flatMap((row) => places.map((column) => Number(row === column)));
  const values = tensor(Float32Array.from(identity), [size, size]);
  const { out } = await attention(zeros, zeros, values, { maskMod });
  return places.map((q) => places.map((k) => out.data[q * size + k] > 0));
}

/** Bytes of a colour, with what is behind it where it is not seen. */
function draw(canvas: HTMLCanvasElement, seen: readonly (readonly boolean[])[]): void {
  const context = canvas.getContext("2d")!, style = getComputedStyle(document.documentElement);
  const cell = canvas.width / size;
  context.clearRect(0, 0, canvas.width, canvas.height);
  for (const [q, row] of seen.entries()) {
    for (const [k, isSeen] of row.entries()) {
      context.fillStyle = style.getPropertyValue(isSeen ? "--wasm" : "--line");
      context.fillRect(k * cell + 0.5, q * cell + 0.5, cell - 1, cell - 1);
    }
  }
}

/** The card of the page; what it shows last is what was asked for last. */
export class OwnMask {
  readonly #card: HTMLElement;
  #asked = 0;

  /** @param card Has the form, the canvas and a place for words. */
  constructor(card: HTMLElement) {
    this.#card = card;
    const form = card.querySelector("form")!;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.show();
    });
  }

  /** Draws what stands in the form, or says why it cannot be drawn. */
  async show(): Promise<void> {
    const turn = ++this.#asked, { value } = this.#card.querySelector("textarea")!;
    try {
      const seen = await seenBy(await functionOf(value));
      if (turn !== this.#asked) return;
      draw(this.#card.querySelector("canvas")!, seen);
      const count = seen.flat().filter(Boolean).length;
      this.#say("drawn", `${count} of ${size * size} pairs are seen`);
    } catch (error) {
      if (turn === this.#asked) this.#say("refused", (error as Error).message);
    }
  }

  #say(state: "drawn" | "refused", words: string): void {
    this.#card.dataset.mask = state;
    this.#card.querySelector(".words")!.textContent = words;
  }
}
