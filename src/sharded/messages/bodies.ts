/**
 * What messages say, one kind after the other: how each is written and read.
 *
 * @module
 */

import { cacheDTypes } from "../../contract/pages.ts";
import { type RefusalReason, refusalReasons } from "../errors.ts";
import { type ShardedSizes, sizeNames } from "../sizes.ts";
import type { Block, ByteReader, ByteWriter } from "./bytes.ts";

/** Nothing beside what each message says. */
export type Nothing = Record<never, never>;

/** Who a shard is, and the epochs that it knows. */
export interface Introduction {
  readonly name: string;
  readonly group: number;
  /** The epoch that was granted last; 0 for none. */
  readonly granted: number;
}

/** Asks for an epoch, and for a report of the sequences from `first` on. */
export interface GrantBody {
  readonly sizes: ShardedSizes;
  readonly first: number;
}

/** A sequence as a group has it. */
export interface SequenceReport {
  /** Its pages that the group has, by their numbers in the whole sequence, ascending. */
  readonly pages: readonly number[];
  /** Tokens of it by layer. */
  readonly lengths: readonly number[];
}

/** A sequence, and how many of its first tokens the last change has left as they were. */
export interface Kept {
  readonly sequence: number;
  readonly length: number;
}

/** What a shard has. */
export interface ReportBody extends Introduction {
  readonly generation: number;
  /** The epoch in which it was last begun with; 0 for none. */
  readonly joined: number;
  /** What the change to this generation left. */
  readonly changed: readonly Kept[];
  /** The first of these sequences. Others may be left to a further report. */
  readonly first: number;
  readonly sequences: readonly SequenceReport[];
}

/** Pages of a sequence, by their numbers in the whole, ascending: all of them full in every layer. */
export interface SequencePages {
  readonly sequence: number;
  readonly pages: readonly number[];
}

/** They, and the group that is told of them. */
export interface GroupPages extends SequencePages {
  readonly group: number;
}

/** Changes of a generation. */
export type Action =
  /** The first tokens of a sequence stay, in a layer or (`null`) in all. */
  | {
    readonly do: "keep";
    readonly sequence: number;
    readonly length: number;
    readonly layer: number | null;
  }
  | { readonly do: "fork"; readonly from: number; readonly to: number }
  | { readonly do: "free" }
  /** A group takes pages that it has fetched. */
  | GroupPages & { readonly do: "take" }
  /** A group drops pages that another one has. */
  | GroupPages & { readonly do: "drop" };

/** A new generation. */
export interface ChangeBody {
  /** Whether an epoch begins with it. */
  readonly begins: boolean;
  readonly actions: readonly Action[];
}

/** Rows of one sequence that follow one another, within one page where they are appended. */
export interface Cell {
  readonly sequence: number;
  /** Where the first row stands in the sequence. */
  readonly position: number;
  readonly rows: number;
  /** Tokens that there are for them: those of the sequence, with these. */
  readonly length: number;
  /** The group that the rows are appended to. */
  readonly owner: number;
  /** Tokens of the sequence that each group has when this is appended. */
  readonly held: readonly number[];
}

/** How rows attend. */
export interface Attending {
  readonly queryHeads: number;
  readonly isCausal: boolean;
  /** Keys before and behind a row's position that it sees; `null` for all. */
  readonly left: number | null;
  readonly right: number | null;
  readonly scale: number;
  readonly softcap: number;
}

/** Rows of a layer: to append, to attend with, or both. */
export interface StepBody {
  readonly cells: readonly Cell[];
  /** Keys `[rows, Hkv, D]` and values `[rows, Hkv, Dv]`. */
  readonly tokens: { readonly k: Block; readonly v: Block } | null;
  /** Queries `[rows, Hq, D]`. */
  readonly queries: (Attending & { readonly q: Block }) | null;
}

/** Attention of the rows to the keys of a group: `[rows, Hq, Dv]` and `[rows, Hq]`, f32. */
export interface PartBody {
  readonly out: Block;
  readonly lse: Block;
}

/** Bytes of a layer's cache, or of what pages there are (layer `layers`), from an offset on. */
export interface PullBody {
  readonly part: number;
  /** Of the layer these pages alone; `null` for all. */
  readonly only: SequencePages | null;
  readonly offset: number;
  readonly most: number;
}

/** They. */
export interface DataBody {
  readonly total: number;
  readonly bytes: Uint8Array;
}

/** What is wrong. */
export interface RefusedBody {
  readonly reason: RefusalReason;
  readonly text: string;
}

/** A shard: another one may have its name, and would have other bytes. */
export interface ShardBody {
  readonly name: string;
  /** What it has as the sender of messages. */
  readonly identity: number;
}

/** A name in stores. */
export interface NamedBody {
  readonly name: string;
}

/** Pages that a group gets from a shard of another one, and may take then. */
export interface FetchBody extends GroupPages {
  /** Who has them. */
  readonly giver: ShardBody;
}

/** What each kind says. */
export interface Bodies {
  ping: Nothing;
  pong: Introduction;
  grant: GrantBody;
  report: ReportBody;
  change: ChangeBody;
  step: StepBody;
  part: PartBody;
  done: Nothing;
  refused: RefusedBody;
  copy: ShardBody;
  pull: PullBody;
  data: DataBody;
  save: NamedBody;
  load: NamedBody;
  fetch: FetchBody;
}

/** A kind of message. */
export type Kind = keyof Bodies;

interface Coding<Body> {
  write(to: ByteWriter, body: Body): void;
  read(from: ByteReader): Body;
}

const none = 0xffffffff;
const nothing: Coding<Nothing> = { write() {}, read: () => ({}) };
const orNone = (value: number | null) => value ?? none;
const orNull = (word: number) => word === none ? null : word;

const named: Coding<NamedBody> = {
  write: (to, { name }) => to.text(name),
  read: (from) => ({ name: from.text() }),
};

const shard: Coding<ShardBody> = {
  write(to, { name, identity }) {
    to.text(name);
    to.word(identity);
  },
  read: (from) => ({ name: from.text(), identity: from.word() }),
};

const introduction: Coding<Introduction> = {
  write(to, { name, group, granted }) {
    to.text(name);
    to.word(group);
    to.word(granted);
  },
  read: (from) => ({ name: from.text(), group: from.word(), granted: from.word() }),
};

const sizes: Coding<ShardedSizes> = {
  write(to, body) {
    for (const name of sizeNames) to.word(body[name]);
    to.word(cacheDTypes.indexOf(body.dtype));
  },
  read(from) {
    const read = sizeNames.map((name) => [name, from.word()] as const);
    const dtype = cacheDTypes[from.below(cacheDTypes.length)];
    return { ...Object.fromEntries(read), dtype } as unknown as ShardedSizes;
  },
};

const grant: Coding<GrantBody> = {
  write(to, body) {
    sizes.write(to, body.sizes);
    to.word(body.first);
  },
  read: (from) => ({ sizes: sizes.read(from), first: from.word() }),
};

const report: Coding<ReportBody> = {
  write(to, body) {
    introduction.write(to, body);
    for (const word of [body.generation, body.joined, body.first]) to.word(word);
    to.words(body.changed.flatMap(({ sequence, length }) => [sequence, length]));
    to.word(body.sequences.length);
    for (const { pages, lengths } of body.sequences) {
      to.words(pages);
      to.words(lengths);
    }
  },
  read(from) {
    const known = introduction.read(from);
    const generation = from.word(), joined = from.word(), first = from.word();
    const pairs = from.words(), changed: Kept[] = [];
    for (let at = 0; at + 1 < pairs.length; at += 2) {
      changed.push({ sequence: pairs[at], length: pairs[at + 1] });
    }
    const sequences = Array.from(
      { length: from.count(8) },
      () => ({ pages: from.words(), lengths: from.words() }),
    );
    return { ...known, generation, joined, first, changed, sequences };
  },
};

const doings = ["keep", "fork", "free", "take", "drop"] as const;

const groupPages: Coding<GroupPages> = {
  write(to, { sequence, group, pages }) {
    to.word(sequence);
    to.word(group);
    to.words(pages);
  },
  read: (from) => ({ sequence: from.word(), group: from.word(), pages: from.words() }),
};

const action: Coding<Action> = {
  write(to, body) {
    to.word(doings.indexOf(body.do));
    if (body.do === "keep") {
      for (const word of [body.sequence, body.length, orNone(body.layer)]) to.word(word);
    } else if (body.do === "fork") {
      to.word(body.from);
      to.word(body.to);
    } else if (body.do !== "free") groupPages.write(to, body);
  },
  read(from) {
    const doing = doings[from.below(doings.length)];
    if (doing === "free") return { do: doing };
    if (doing === "fork") return { do: doing, from: from.word(), to: from.word() };
    if (doing !== "keep") return { do: doing, ...groupPages.read(from) };
    const sequence = from.word(), length = from.word();
    return { do: doing, sequence, length, layer: orNull(from.word()) };
  },
};

const change: Coding<ChangeBody> = {
  write(to, { begins, actions }) {
    to.word(Number(begins));
    to.word(actions.length);
    for (const one of actions) action.write(to, one);
  },
  read(from) {
    const begins = from.below(2) === 1, count = from.count();
    return { begins, actions: Array.from({ length: count }, () => action.read(from)) };
  },
};

const attending: Coding<Attending> = {
  write(to, { queryHeads, isCausal, left, right, scale, softcap }) {
    for (const word of [queryHeads, Number(isCausal), orNone(left), orNone(right)]) to.word(word);
    to.float(scale);
    to.float(softcap);
  },
  read(from) {
    const queryHeads = from.word(), isCausal = from.below(2) === 1;
    const left = orNull(from.word()), right = orNull(from.word());
    return { queryHeads, isCausal, left, right, scale: from.float(), softcap: from.float() };
  },
};

const cell: Coding<Cell> = {
  write(to, { sequence, position, rows, length, owner, held }) {
    for (const word of [sequence, position, rows, length, owner]) to.word(word);
    to.words(held);
  },
  read(from) {
    const [sequence, position, rows, length, owner] = [0, 1, 2, 3, 4].map(() => from.word());
    return { sequence, position, rows, length, owner, held: from.words() };
  },
};

const appends = 1, attends = 2;

const step: Coding<StepBody> = {
  write(to, { cells, tokens, queries }) {
    to.word((tokens ? appends : 0) | (queries ? attends : 0));
    to.word(cells.length);
    for (const one of cells) cell.write(to, one);
    if (tokens) {
      to.block(tokens.k);
      to.block(tokens.v);
    }
    if (queries) {
      attending.write(to, queries);
      to.block(queries.q);
    }
  },
  read(from) {
    const does = from.below(4), count = from.count(24);
    const cells = Array.from({ length: count }, () => cell.read(from));
    const tokens = does & appends ? { k: from.block(), v: from.block() } : null;
    const queries = does & attends ? { ...attending.read(from), q: from.block() } : null;
    return { cells, tokens, queries };
  },
};

const part: Coding<PartBody> = {
  write(to, { out, lse }) {
    to.block(out);
    to.block(lse);
  },
  read: (from) => ({ out: from.block(), lse: from.block() }),
};

const refused: Coding<RefusedBody> = {
  write(to, { reason, text }) {
    to.word(refusalReasons.indexOf(reason));
    to.text(text);
  },
  read: (from) => ({
    reason: refusalReasons[from.below(refusalReasons.length)],
    text: from.text(),
  }),
};

const pull: Coding<PullBody> = {
  write(to, { part, offset, most, only }) {
    to.word(part);
    to.float(offset);
    to.word(most);
    to.word(orNone(only?.sequence ?? null));
    to.words(only?.pages ?? []);
  },
  read(from) {
    const part = from.word(), offset = from.float(), most = from.word();
    const sequence = orNull(from.word()), pages = from.words();
    return { part, offset, most, only: sequence === null ? null : { sequence, pages } };
  },
};

const fetched: Coding<FetchBody> = {
  write(to, body) {
    shard.write(to, body.giver);
    groupPages.write(to, body);
  },
  read: (from) => ({ giver: shard.read(from), ...groupPages.read(from) }),
};

const data: Coding<DataBody> = {
  write(to, { total, bytes }) {
    to.float(total);
    to.raw(bytes);
  },
  read: (from) => ({ total: from.float(), bytes: from.raw() }),
};

/** How each kind is coded, in the order of their numbers. */
export const codings: { readonly [K in Kind]: Coding<Bodies[K]> } = {
  ping: nothing,
  pong: introduction,
  grant,
  report,
  change,
  step,
  part,
  done: nothing,
  refused,
  copy: shard,
  pull,
  data,
  save: named,
  load: named,
  fetch: fetched,
};

/** All kinds, by their numbers. */
export const kinds: readonly Kind[] = Object.keys(codings) as Kind[];
