/**
 * What somebody may have meant by a name that is not known: that of another library, or a misspelt one.
 *
 * @module
 */

/**
 * A line for an option: its name, then what others call it, in small letters and without underscores, then in
 * parentheses what else to say. A line without a name is about what has none here. The first line whose option
 * the call knows is taken. Names that have an option's in them, as `softmax_scale` has, need no line.
 */
const lines = `causal iscausal (PyTorch's \`is_causal\` is \`"top-left"\`)
mask attnmask attentionmask keypaddingmask (floats that are added to scores are \`bias\`)
chunk attentionchunk attentionchunksize chunksize
window slidingwindow (W is W keys, the row's own among them)
window windowsize (in [left, right] \`null\` is open, not -1)
sinks saux
cuSeqlens cuseqlensq cuseqlensk (of other keys than queries it is { q, k })
packed seqlens seqlengths
kvLengths sequsedk cacheseqlens
capacity maxlength maxlen maxtokens maxseqlen nctx
maxTokens maxlength maxlen maxseqlen maxnewtokens nctx
pageSize blocksize pageblocksize
kvHeads numkeyvalueheads
headDim headsize dimhead
dims rotarydim
theta base
style interleaved traditional (\`"interleaved"\` or \`"half"\`)
positions positionids
eps epsilon
axis dim
queries seqlen
backend executionproviders
 dropout dropoutp (leave it out: nothing is dropped)
 enablegqa (leave it out: query heads share key heads as their numbers say)
 maxseqlenq maxseqlenk (leave it out: the boundaries say it)
 cacheseqlens sequsedk (leave it out: a cache knows how long its sequences are)
 data (a tensor stands where options do)
 0 (an array stands there; \`tensor()\` makes tensors of arrays)`;

function plainOf(name: string): string {
  return name.toLowerCase().replace(/[_-]/g, "");
}

/** Letters to add, to leave out or to replace until one word is the other. */
function distance(a: string, b: string): number {
  let row = [...b, ""].map((_, at) => at);
  for (let i = 1; i <= a.length; i++) {
    const above = row;
    row = [i];
    for (let j = 1; j <= b.length; j++) {
      const changed = above[j - 1] + Number(a[i - 1] !== b[j - 1]);
      row.push(Math.min(changed, above[j] + 1, row[j - 1] + 1));
    }
  }
  return row[b.length];
}

/** What to say behind a message about a name that is none of `known`; nothing where nothing is like it. */
export function hintOf(name: string, known: readonly string[]): string {
  const plain = plainOf(name), all = known.map((one) => ({ one, plain: plainOf(one) }));
  if (plain.length > 32) return "";
  const same = all.find((one) => one.plain === plain);
  if (same !== undefined) return didYouMean(same.one);
  for (const line of lines.split("\n")) {
    const [words, note] = line.split(/ \(|\)$/), [meant, ...others] = words.split(" ");
    if (!others.includes(plain)) continue;
    if (meant === "") return `; ${note}`;
    if (known.includes(meant)) return didYouMean(meant) + (note ? ` (${note})` : "");
  }
  const most = plain.length < 6 ? 1 : 2;
  const [near] = all.map((one) => ({ ...one, by: distance(one.plain, plain) }))
    .filter(({ by }) => by <= most && by < plain.length - 1).sort((a, b) => a.by - b.by);
  const [longest] = all.filter((one) => isPart(one.plain, plain, 3) || isPart(plain, one.plain, 4))
    .sort((a, b) => b.plain.length - a.plain.length);
  const meant = near ?? longest;
  return meant === undefined ? "" : didYouMean(meant.one);
}

function didYouMean(name: string): string {
  return `; did you mean \`${name}\`?`;
}

/** Whether a name of at least so many letters, fewer of which are there by chance, is in another. */
function isPart(part: string, whole: string, least: number): boolean {
  return part.length >= least && whole.includes(part);
}
