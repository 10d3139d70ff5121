/**
 * A coordinator takes a cache: it finds the shards, has an epoch granted by all of them, brings replicas to one
 * state, and begins with what all groups together have.
 *
 * @module
 */

import { clock, yieldTurn } from "../../runtime.ts";
import { ShardRefusedError } from "../errors.ts";
import type { Action, Introduction, ReportBody } from "../messages/bodies.ts";
import type { Exchange } from "./exchange.ts";
import { type Member, Members } from "./members.ts";
import type { ReadCacheOptions } from "./options.ts";
import { PageMap, rebuild } from "./page_map.ts";

/** What a coordinator begins with. */
export interface Joined {
  readonly map: PageMap;
  /** Tokens of each sequence, in all layers. */
  readonly lengths: readonly number[];
}

/** Who is asked for what. */
export interface Joining {
  readonly exchange: Exchange;
  readonly options: ReadCacheOptions;
  readonly identity: number;
  readonly doing: string;
  /** The name in the shards' stores of what a group gets that has lost its own. */
  readonly saved: string | undefined;
  /**
   * Tokens of each sequence at most: those whose calls were answered. What a call that failed has left is not
   * taken, or nobody would know what it gave. A new coordinator knows of none.
   */
  readonly most: readonly number[] | undefined;
  /** Whether all replicas must be there; else one of each group. */
  readonly needsAll: boolean;
}

/** A shard, and what it has. */
interface Reported {
  readonly member: Member;
  report: ReportBody;
}

/** Times that an epoch is asked for where others ask, too. */
const mostTries = 5;

/** Heartbeats that shards are waited for where not all must be there. */
const restoreBeats = 4;

/** Takes a cache. */
export async function join(joining: Joining): Promise<Joined> {
  const { exchange } = joining;
  const found = await find(joining);
  exchange.members = new Members(found.map(({ member }) => member));
  const all = await grant(joining, found.map(({ granted }) => granted));
  const reports = await unite(joining, all);
  return await begin(joining, reports);
}

/** Finds the shards, each by the name that nobody else has. */
async function find({ exchange, options, needsAll, doing }: Joining) {
  const { groups, replicas, deadline, heartbeat } = options;
  const found = new Map<number, { readonly member: Member; readonly granted: number }>();
  const count = (group: number) =>
    [...found.values()].filter(({ member }) => member.group === group).length;
  const isThere = (least: number) =>
    Array.from({ length: groups }, (_, group) => group)
      .every((group) => count(group) >= least);
  exchange.checkOpen();
  await new Promise<void>((resolve) => {
    const end = () => {
      stop();
      clock.cancel(timer);
      resolve();
    };
    const take = (identity: number, { name, group, granted }: Introduction) => {
      if (group >= groups) return;
      found.set(identity, { member: { identity, name, group, strikes: 0 }, granted });
      if (isThere(replicas)) end();
    };
    // Where this machine is busy, answers have come and wait to be heard.
    const late = () => void yieldTurn().then(end);
    const timer = clock.after(needsAll ? deadline : restoreBeats * heartbeat, late);
    const stop = exchange.find(({ header, body }) => take(header.sender, body), end);
  });
  exchange.checkOpen();
  const shards = [...found.values()];
  checkNames(shards.map(({ member }) => member), doing);
  if (!isThere(needsAll ? replicas : 1)) {
    const missing = Array.from({ length: groups }, (_, group) => group)
      .filter((group) => count(group) < (needsAll ? replicas : 1));
    const there = missing.map((group) => `${count(group)} of group ${group}`).join(", ");
    throw exchange.lost(
      [],
      missing,
      `found are ${there}, needed ${needsAll ? replicas : 1} of each`,
    );
  }
  return shards;
}

function checkNames(members: readonly Member[], doing: string): void {
  const names = new Set<string>();
  for (const { name } of members) {
    if (names.has(name)) {
      const text = `two shards have the name ${name}, give each its own`;
      throw new ShardRefusedError(doing, name, "name", text);
    }
    names.add(name);
  }
}

/** Has an epoch granted by all. @returns What each has. */
async function grant(
  { exchange, options, identity }: Joining,
  granted: readonly number[],
): Promise<Reported[]> {
  let epoch = Math.max(0, ...granted);
  for (let attempt = 1;; attempt++) {
    exchange.standing = { epoch: ++epoch, coordinator: identity, generation: 0 };
    try {
      return await reportsOf(exchange, options);
    } catch (error) {
      const isTaken = error instanceof ShardRefusedError && error.reason === "epoch";
      if (!isTaken || attempt === mostTries) throw error;
      // Others ask for the same: who waits less has it.
      await new Promise<void>((resolve) => clock.after(Math.random() * 50 * attempt, resolve));
    }
  }
}

async function reportsOf(exchange: Exchange, options: ReadCacheOptions): Promise<Reported[]> {
  const { sizes, groups } = options;
  const wanted = Array.from({ length: groups }, (_, group) => ({ group, all: true }));
  const reported = new Map<Member, ReportBody>();
  const accepts = ({ kind }: { readonly kind: string }) => kind === "report";
  const first = await exchange.ask({ kind: "grant", body: { sizes, first: 0 }, wanted, accepts });
  for (const [member, { body }] of first) {
    let report = body as ReportBody;
    while (report.sequences.length < sizes.batch) {
      const body = { sizes, first: report.sequences.length };
      const wanted = [{ group: member.group, all: true }];
      const more = await exchange.ask({ kind: "grant", body, wanted, member, accepts });
      const { sequences } = more.get(member)!.body as ReportBody;
      report = { ...report, sequences: [...report.sequences, ...sequences] };
    }
    reported.set(member, report);
  }
  return [...reported].map(([member, report]) => ({ member, report }));
}

function tokensOf({ sequences }: ReportBody): number {
  return sequences.reduce((sum, { lengths }) => sum + Math.min(...lengths), 0);
}

/** How much a state counts: the later epoch, then the later generation, then more tokens. */
function isBetter(a: ReportBody, b: ReportBody): boolean {
  const keys = (report: ReportBody) => [report.joined, report.generation, tokensOf(report)];
  const [ours, theirs] = [keys(a), keys(b)];
  const at = ours.findIndex((key, index) => key !== theirs[index]);
  return at >= 0 && ours[at] > theirs[at];
}

const stateOf = ({ joined, generation, sequences }: ReportBody) =>
  JSON.stringify([joined, generation, sequences]);

/**
 * Brings the shards of each group to one state: that of the best, or what a store has.
 *
 * @returns What each group has; `undefined` where it is of a past that is over.
 */
async function unite(
  joining: Joining,
  all: readonly Reported[],
): Promise<(ReportBody | undefined)[]> {
  const { options: { groups }, saved, exchange } = joining;
  if (saved !== undefined) return await loadAll(joining, all, saved);
  const latest = Math.max(...all.map(({ report }) => report.joined));
  return await Promise.all(Array.from({ length: groups }, async (_, group) => {
    const own = all.filter(({ member }) => member.group === group);
    const [best, ...others] = own.sort((a, b) => isBetter(a.report, b.report) ? -1 : 1);
    const behind = others.filter(({ report }) => stateOf(report) !== stateOf(best.report));
    await Promise.all(behind.map(({ member }) => copy(exchange, member, best.member)));
    return best.report.joined < latest ? undefined : best.report;
  }));
}

/** All shards get what the store has: what some of them have now may be another past. */
async function loadAll(
  { exchange, options }: Joining,
  all: readonly Reported[],
  saved: string,
): Promise<ReportBody[]> {
  await Promise.all(all.map(({ member }) => load(exchange, member, saved)));
  const now = await reportsOf(exchange, options);
  return Array.from({ length: options.groups }, (_, group) => {
    const { report } = now.find(({ member }) => member.group === group)!;
    return { ...report, generation: 0 };
  });
}

async function copy(exchange: Exchange, member: Member, { name, identity }: Member) {
  const wanted = [{ group: member.group, all: true }];
  await exchange.ask({ kind: "copy", body: { name, identity }, wanted, member, isLong: true });
}

async function load(exchange: Exchange, member: Member, name: string) {
  const wanted = [{ group: member.group, all: true }];
  await exchange.ask({ kind: "load", body: { name }, wanted, member, isLong: true });
}

/** Begins: everything that is behind a gap is forgotten, and all that is of another past. */
async function begin(
  { exchange, options: { sizes: { batch, pageSize }, groups }, most }: Joining,
  reports: readonly (ReportBody | undefined)[],
): Promise<Joined> {
  const map = new PageMap(batch, groups, pageSize), dropped: Action[] = [], kept: Action[] = [];
  const lengths = Array.from({ length: batch }, (_, sequence) => {
    const { owners, length: there, strays } = rebuild(reports, sequence, pageSize);
    dropped.push(...strays.map((stray): Action => ({ do: "drop", ...stray })));
    const length = Math.min(there, most?.[sequence] ?? Infinity);
    map.replace(sequence, owners.slice(0, Math.ceil(length / pageSize)));
    kept.push({ do: "keep", sequence, length, layer: null });
    return length;
  });
  const generation = 1 + Math.max(0, ...reports.map((report) => report?.generation ?? 0));
  exchange.standing = { ...exchange.standing, generation };
  await Promise.all(exchange.members.all.map((member) => {
    const actions: Action[] = reports[member.group] === undefined
      ? [{ do: "free" }]
      : [...dropped, ...kept];
    const wanted = [{ group: member.group, all: true }];
    return exchange.ask({ kind: "change", body: { begins: true, actions }, wanted, member });
  }));
  return { map, lengths };
}
