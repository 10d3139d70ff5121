/**
 * The picture of both memories: matrices on the slow side, tiles on the fast one, and a tile on its
 * way between them.
 *
 * @module
 */

import type { Matrix, Move } from "../memory.ts";
import type { Sizes } from "../problem.ts";
import type { Film } from "./film.ts";
import { type Place, placeAll, type Places } from "./places.ts";
import type { Moment } from "./player.ts";

/** Where the halves of the picture are. */
interface Halves {
  readonly slow: Place;
  readonly fast: Place;
}

/** A colour of the style sheet. */
function styledColour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** How strongly a part is coloured once it has been moved as often as any. */
const fullest = 0.72;

/** How strongly at least by the first time, which would not be seen otherwise. */
const faintest = 0.06;

/** The film where there is none. */
const nothing: Film = { made: [], steps: [], freed: [], matrices: [], most: 0 };

/** Draws films. */
export class Stage {
  readonly #canvas: HTMLCanvasElement;
  readonly #context: CanvasRenderingContext2D;
  /** What has been read and written, of which each time leaves a little colour. */
  readonly #traces = document.createElement("canvas");
  #film: Film | undefined;
  #sizes: Sizes = { n: 1, d: 1, m: 1 };
  #done = 0;
  #slow: Places = { scale: 1, of: new Map() };
  #fast: Places = { scale: 1, of: new Map() };
  #halves: Halves = halvesOf(300, 300);
  #live = new Map<string, Move>();
  #strength = 1;
  readonly #colours = new Map<string, string>();

  constructor(canvas: HTMLCanvasElement) {
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d")!;
  }

  /** Shows another film, from its beginning; without one, nothing. */
  insert(film: Film | undefined, sizes: Sizes): void {
    this.#film = film;
    this.#sizes = sizes;
    this.#done = 0;
    this.#strength = film === undefined ? 1 : strengthFor(film);
    this.layOut();
  }

  /** Places everything anew, as after a change of the window or its colours. */
  layOut(): void {
    const { clientWidth: width, clientHeight: height } = this.#canvas, ratio = devicePixelRatio;
    if (width === 0 || height === 0) return; // not shown yet
    this.#colours.clear();
    for (const canvas of [this.#canvas, this.#traces]) {
      [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
      canvas.getContext("2d")!.setTransform(ratio, 0, 0, ratio, 0, 0);
    }
    this.#halves = halvesOf(width, height);
    const { matrices } = this.#film ?? nothing;
    this.#slow = placeAll(matrices, inside(this.#halves.slow), 4);
    this.#fast = placeAll(tilesOf(this.#film), inside(this.#halves.fast), this.#slow.scale);
    const done = this.#done;
    this.#rewind();
    this.show({ done, part: 0 });
  }

  /** Shows a moment. */
  show({ done, part }: Moment): void {
    if (done < this.#done) this.#rewind();
    const film = this.#film ?? nothing;
    if (this.#done === 0) this.#applyAll(film.made);
    for (; this.#done < Math.min(done, film.steps.length); this.#done++) {
      const { freed, move, made } = film.steps[this.#done];
      this.#applyAll([...freed, move, ...made]);
    }
    if (done >= film.steps.length) this.#applyAll(film.freed);
    if (this.#traces.width === 0) return;
    this.#draw();
    if (part > 0 && done < film.steps.length) this.#drawWay(film.steps[done].move, part);
  }

  /** Asked for once: a film has thousands of moves. */
  #colour(name: string): string {
    const known = this.#colours.get(name) ?? styledColour(name);
    this.#colours.set(name, known);
    return known;
  }

  #rewind(): void {
    this.#done = 0;
    this.#live = new Map();
    const context = this.#traces.getContext("2d")!;
    context.clearRect(0, 0, this.#traces.width, this.#traces.height);
  }

  #applyAll(moves: readonly Move[]): void {
    for (const move of moves) this.#apply(move);
  }

  #apply(move: Move): void {
    const key = `${move.matrix.name} ${move.down.start} ${move.across.start}`;
    if (move.kind === "free") this.#live.delete(key);
    if (move.kind === "load" || move.kind === "make") this.#live.set(key, move);
    if (move.kind === "make" || move.kind === "free") return;
    const context = this.#traces.getContext("2d")!;
    context.globalAlpha = this.#strength;
    context.fillStyle = this.#colour(move.kind === "load" ? "read" : "write");
    fill(context, onPixels(this.#placeInSlow(move)));
  }

  #placeInSlow({ matrix, down, across }: Move): Place {
    const whole = this.#slow.of.get(matrix.name);
    if (whole === undefined) return { x: 0, y: 0, width: 0, height: 0 };
    const perRow = whole.height / matrix.rows, perColumn = whole.width / matrix.columns;
    return {
      x: whole.x + across.start * perColumn,
      y: whole.y + down.start * perRow,
      width: across.count * perColumn,
      height: down.count * perRow,
    };
  }

  #placeInFast({ matrix, down, across }: Move): Place {
    const { x, y, width, height } = this.#fast.of.get(matrix.name) ?? this.#halves.fast;
    const { scale } = this.#fast;
    return {
      ...{ x, y },
      width: Math.min(width, Math.max(5, across.count * scale)),
      height: Math.min(height, Math.max(5, down.count * scale)),
    };
  }

  #draw(): void {
    const context = this.#context, { width, height } = this.#canvas;
    context.clearRect(0, 0, width, height);
    this.#drawHalf(this.#halves.slow, "Slow memory");
    this.#drawHalf(this.#halves.fast, "Fast memory");
    for (const matrix of this.#film?.matrices ?? []) this.#drawMatrix(matrix);
    context.drawImage(this.#traces, 0, 0, this.#canvas.clientWidth, this.#canvas.clientHeight);
    for (const matrix of this.#film?.matrices ?? []) this.#drawFrame(matrix);
    this.#drawFast();
  }

  #drawHalf({ x, y, width, height }: Place, title: string): void {
    const context = this.#context;
    context.fillStyle = this.#colour(title === "Fast memory" ? "fast" : "slow");
    context.beginPath();
    context.roundRect(x, y, width, height, 10);
    context.fill();
    this.#write(title, x + 12, y + 20, "text", 600, 13);
  }

  #write(
    text: string,
    x: number,
    y: number,
    name: string,
    weight = 400,
    size = 12,
    align: CanvasTextAlign = "left",
  ): void {
    const context = this.#context;
    context.font = `${weight} ${size}px system-ui, sans-serif`;
    context.fillStyle = this.#colour(name);
    context.textAlign = align;
    context.fillText(text, x, y);
  }

  #drawMatrix({ name }: Matrix): void {
    const place = this.#slow.of.get(name);
    if (place === undefined) return;
    this.#context.fillStyle = this.#colour("surface");
    fill(this.#context, place);
    this.#write(name, place.x, place.y - 5, "text", 600);
  }

  #drawFrame({ name }: Matrix): void {
    const place = this.#slow.of.get(name);
    if (place !== undefined) this.#outline(place, "frame");
    for (const move of this.#live.values()) {
      if (move.matrix.name === name) this.#outline(this.#placeInSlow(move), "text", 1.5);
    }
  }

  #outline({ x, y, width, height }: Place, name: string, thickness = 1): void {
    this.#context.strokeStyle = this.#colour(name);
    this.#context.lineWidth = thickness;
    this.#context.strokeRect(x, y, width, height);
  }

  #drawFast(): void {
    let used = 0;
    for (const [name, place] of this.#fast.of) {
      this.#write(name, place.x, place.y - 5, "faint", 600);
      this.#outline(place, "frame");
    }
    for (const move of this.#live.values()) {
      used += move.down.count * move.across.count;
      this.#drawTile(this.#placeInFast(move), move.kind === "load" ? "read" : "made");
    }
    this.#drawMeter(used);
  }

  /** How full fast memory is. */
  #drawMeter(used: number): void {
    const { x, y, width } = this.#halves.fast, { m } = this.#sizes, length = width * 0.3;
    const meter = { x: x + width - length - 12, y: y + 12, width: length, height: 7 };
    this.#context.fillStyle = this.#colour("frame");
    fill(this.#context, meter);
    this.#context.fillStyle = this.#colour("text");
    fill(this.#context, { ...meter, width: length * Math.min(1, used / m) });
    const words = `${used.toLocaleString("en")} of ${m.toLocaleString("en")}`;
    this.#write(words, meter.x - 10, y + 20, "faint", 400, 12, "right");
  }

  #drawTile(place: Place, name: string, alpha = 0.85): void {
    const context = this.#context;
    context.globalAlpha = alpha;
    context.fillStyle = this.#colour(name);
    fill(context, place);
    context.globalAlpha = 1;
  }

  /** A tile between the memories. */
  #drawWay(move: Move, part: number): void {
    const slow = this.#placeInSlow(move), fast = this.#placeInFast(move);
    const [from, to] = move.kind === "load" ? [slow, fast] : [fast, slow];
    // Slow at both ends.
    const at = part * part * (3 - 2 * part), between = (a: number, b: number) => a + (b - a) * at;
    const name = move.kind === "load" ? "read" : "write";
    this.#drawTile({
      x: between(from.x, to.x),
      y: between(from.y, to.y),
      width: between(from.width, to.width),
      height: between(from.height, to.height),
    }, name);
    this.#outline(slow, name, 2);
  }
}

/** A place whose edges are those of pixels, so that neighbours leave no seam. */
function onPixels({ x, y, width, height }: Place): Place {
  const snap = (value: number) => Math.round(value * devicePixelRatio) / devicePixelRatio;
  const left = snap(x), top = snap(y);
  return { x: left, y: top, width: snap(x + width) - left, height: snap(y + height) - top };
}

function fill(context: CanvasRenderingContext2D, { x, y, width, height }: Place): void {
  context.fillRect(x, y, width, height);
}

/** One above the other: matrices side by side take more width than height. */
function halvesOf(width: number, height: number): Halves {
  const slow = Math.round(height * 0.62), gap = 10;
  return {
    slow: { x: 0, y: 0, width, height: slow },
    fast: { x: 0, y: slow + gap, width, height: height - slow - gap },
  };
}

/** A half without its edges and title. */
function inside({ x, y, width, height }: Place): Place {
  return { x: x + 12, y: y + 30, width: width - 24, height: height - 40 };
}

/** The largest tile of each matrix. */
function tilesOf(film: Film | undefined) {
  const largest = new Map<string, { name: string; rows: number; columns: number }>();
  const { made, steps } = film ?? nothing;
  const taken = [...made, ...steps.flatMap(({ move, made }) => [move, ...made])];
  for (const { matrix: { name }, down, across } of taken) {
    const { rows, columns } = largest.get(name) ?? { rows: 0, columns: 0 };
    largest.set(name, {
      name,
      rows: Math.max(rows, down.count),
      columns: Math.max(columns, across.count),
    });
  }
  return (film?.matrices ?? []).map(({ name }) => largest.get(name)!);
}

/** How much colour one move leaves, so that what is moved most often ends near the fullest. */
function strengthFor({ steps }: Film): number {
  const times = new Map<string, number>();
  for (const { move: { matrix, down, across } } of steps) {
    const key = `${matrix.name} ${down.start} ${across.start}`;
    times.set(key, (times.get(key) ?? 0) + 1);
  }
  return Math.max(faintest, 1 - (1 - fullest) ** (1 / Math.max(1, ...new Set(times.values()))));
}
