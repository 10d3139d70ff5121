/**
 * What somebody may have meant by a name that is not known: that of another library, or a misspelt one.
 *
 * @module
 */

/**
 * A line for an option: its name, then what others call it, in small letters and without underscores, then in
 * parentheses what else to say. A line without a name is about what has none here. The first line whose option
 * the call knows is taken.
 */
const lines = `causal iscausal usecausalmask (PyTorch's \`is_causal\` is \`"top-left"\`)
scale softmaxscale smscale qkscale
mask attnmask attentionmask keypaddingmask paddingmask (floats that are added to scores are \`bias\`)
bias attnbias attentionbias positionbias
windowBlocks window windowsize numslidingwindowblocks (it counts blocks)
window slidingwindow (W is W keys, the row's own among them)
window windowsize localwindow localwindowsize (in [left, right] \`null\` is open, not -1)
alibi alibislopes
softcap logitssoftcap logitsoftcap attnlogitsoftcapping softcapping attnsoftcap
sinks saux sink attentionsinks learnablesink sinklogits
lse returnlse returnsoftmaxlse returnattnprobs
cuSeqlens cuseqlensq cuseqlensk (of other keys than queries it is { q, k })
packed seqlens seqlengths sequencelengths
kvLengths sequsedk cacheseqlens seqlensk contextlens
layout inputlayout tensorlayout qkvformat
blockMask sparsitymask
capacity maxlength maxlen maxtokens maxseqlen maxseqlength maxcachelen nctx
maxTokens maxlength maxlen maxnewtokens maxseqlen maxseqlength nctx npredict
pageSize blocksize pageblocksize
block blocksize
pages numpages numblocks
batch batchsize maxbatchsize
kvHeads numkvheads numkeyvalueheads numheadskv nheadskv nkvheads heads numheads nheads
heads numheads nheads numattentionheads
headDim headsize dimhead dhead dim
valueDim headdimv vheaddim
dim headdim headsize dimhead
dims rotarydim ropedim ropedims
theta base ropetheta ropebase
style interleaved traditional rotaryinterleaved (\`"interleaved"\` or \`"half"\`)
scaling ropescaling
positions positionids offset
threads numthreads nthreads intraopnumthreads
backend executionproviders provider
dtype torchdtype datatype kvcachedtype
eps epsilon rmsnormeps layernormeps
axis dim
queries seqlen seqlenq qlen
keys kvlen seqlenk
global globaltokens numglobalblocks
random numrandomblocks
 dropout dropoutp attentiondropout (leave it out: nothing is dropped)
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
  if (name.length > 32) return "";
  const plain = plainOf(name);
  const same = known.find((one) => plainOf(one) === plain);
  if (same !== undefined) return `; did you mean \`${same}\`?`;
  for (const line of lines.split("\n")) {
    const [words, note] = line.split(/ \(|\)$/), [meant, ...others] = words.split(" ");
    if (!others.includes(plain)) continue;
    if (meant === "") return `; ${note}`;
    if (known.includes(meant)) return `; did you mean \`${meant}\`?` + (note ? ` (${note})` : "");
  }
  const most = plain.length < 6 ? 1 : 2;
  const [near] = known.map((one) => ({ one, by: distance(plainOf(one), plain) }))
    .filter(({ by }) => by <= most && by < plain.length - 1).sort((a, b) => a.by - b.by);
  return near === undefined ? "" : `; did you mean \`${near.one}\`?`;
}
