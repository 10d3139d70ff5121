/**
 * What models ask of a tokenizer: ids of a text, and the text of ids.
 *
 * @module
 */

/** What a tokenizer must have: also one of another library, whose `encode()` may give `{ ids }`. */
export interface TokenizerLike {
  /** Ids of a text, with what is to stand around it. */
  encode(text: string): ArrayLike<number> | { readonly ids: ArrayLike<number> };
  /** Text of ids. */
  decode(ids: number[]): string;
}

/** Text of tokens that come one after the other. */
export interface TextStream {
  /** Takes a token; gives the text that is whole with it, which may be none. */
  push(id: number): string;
  /** Gives what is left: U+FFFD for a character whose bytes never came. */
  end(): string;
}

/** A tokenizer of this library. */
export interface Tokenizer extends TokenizerLike {
  /** How many tokens there are. */
  readonly size: number;
  /** The token that texts begin with; `undefined` where there is none. */
  readonly begin: number | undefined;
  /** The token that ends a text. */
  readonly end: number | undefined;
  /** Whether a prompt is given the beginning token. */
  readonly addsBegin: boolean;
  /** Ids of a text, without those of its beginning and its end. */
  encode(text: string): number[];
  /** Text of ids: special tokens give none, and what is no UTF-8 becomes U+FFFD. */
  decode(ids: ArrayLike<number>): string;
  /**
   * Text of tokens that follow others.
   *
   * @param before Those before: after none, or after the beginning token, the first space is left out.
   */
  stream(before?: ArrayLike<number>): TextStream;
}

/** Tokens that are decoded anew with each one that comes, so that their text is that of a whole. */
const replaced = "\ufffd";

/**
 * Text of tokens one after the other by any tokenizer: some tokens before are decoded with and without the new
 * one, and what the text grows by is its own. What ends in U+FFFD waits for the next.
 *
 * @param before Tokens before, whose text is not given.
 */
export function streamOf(tokenizer: TokenizerLike, before: ArrayLike<number> = []): TextStream {
  const ids = Array.from(before);
  /** Tokens whose text was given, and of these the first that is still decoded. */
  let given = ids.length, from = Math.max(0, given - 8);
  const textOf = (to: number) => tokenizer.decode(ids.slice(from, to));
  /** Takes all there is, up to a length of text. */
  const take = () => {
    const text = textOf(ids.length).slice(textOf(given).length);
    [from, given] = [given, ids.length];
    return text;
  };
  return {
    push(id) {
      ids.push(id);
      return textOf(ids.length).endsWith(replaced) ? "" : take();
    },
    end: take,
  };
}
