/**
 * Where things lie in a picture: rectangles side by side, to scale, in lines like words.
 *
 * @module
 */

/** Something to be placed: its name, and what it measures in numbers. */
export interface Thing {
  readonly name: string;
  readonly rows: number;
  readonly columns: number;
}

/** A place, in pixels. */
export interface Place {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

/** Where everything lies, and pixels of a number. */
export interface Places {
  readonly scale: number;
  readonly of: ReadonlyMap<string, Place>;
}

/** Room above each for its name, between them, and the least that can be seen. */
const room = { name: 17, gap: 14, least: 5 };

/** Places things into an area at the largest scale at which they fit, up to one that is given. */
export function placeAll(things: readonly Thing[], area: Place, largest: number): Places {
  for (let scale = largest;; scale *= 0.94) {
    const of = flow(things, area, scale);
    if (of !== undefined || scale < largest / 1e4) return { scale, of: of ?? new Map() };
  }
}

/** Lines of things; none if they do not fit. */
function flow(
  things: readonly Thing[],
  area: Place,
  scale: number,
): Map<string, Place> | undefined {
  const places = new Map<string, Place>();
  let x = 0, y = 0, lineHeight = 0;
  for (const { name, rows, columns } of things) {
    const width = Math.max(room.least, columns * scale);
    const height = Math.max(room.least, rows * scale);
    // A name needs room too.
    const taken = Math.max(width, 8 * name.length + 2);
    if (x > 0 && x + taken > area.width) {
      x = 0;
      y += lineHeight + room.gap;
      lineHeight = 0;
    }
    if (x + taken > area.width || y + room.name + height > area.height) return undefined;
    places.set(name, { x: area.x + x, y: area.y + y + room.name, width, height });
    x += taken + room.gap;
    lineHeight = Math.max(lineHeight, room.name + height);
  }
  return places;
}
