/**
 * Links within the site that lead nowhere: to a file that is not there, or a place that a page has not.
 * VitePress looks at links from page to page while it builds, and not at places in them.
 *
 * @module
 */

/** A site: its pages' text, and all its files, by their paths in it. */
export interface Site {
  readonly pages: ReadonlyMap<string, string>;
  readonly files: ReadonlySet<string>;
  /** The path that it is served under. */
  readonly base: string;
}

/** What leads nowhere, a line each. */
export function brokenLinks({ pages, files, base }: Site): string[] {
  const places = new Map(Array.from(pages, ([path, text]) => [path, placesIn(text)]));
  const leads = (page: string, link: string): boolean => {
    const { pathname, hash } = new URL(link, `http://site.invalid${base}${page}`);
    if (!pathname.startsWith(base)) return false;
    const path = fileFor(decodeURIComponent(pathname.slice(base.length)), files);
    if (path === undefined) return false;
    return hash === "" || (places.get(path)?.has(decodeURIComponent(hash.slice(1))) ?? false);
  };
  return Array.from(
    pages,
    ([page, text]) =>
      linksIn(text).filter((link) => !leads(page, link)).map((link) => `${page}: ${link}`),
  ).flat();
}

/** A file by an address, as servers of files find it. */
function fileFor(path: string, files: ReadonlySet<string>): string | undefined {
  const all = [
    path,
    `${path}.html`,
    `${path.replace(/\/$/, "")}${path === "" ? "" : "/"}index.html`,
  ];
  return all.find((one) => files.has(one));
}

function placesIn(text: string): Set<string> {
  return new Set(Array.from(text.matchAll(/\sid="([^"]*)"/g), ([, place]) => plain(place)));
}

/** Links to the site itself. */
function linksIn(text: string): string[] {
  const all = Array.from(text.matchAll(/\s(?:href|src)="([^"]*)"/g), ([, link]) => plain(link));
  return [...new Set(all)].filter((link) => !/^(?:[a-z]+:|\/\/)/i.test(link));
}

/** An attribute's value. */
function plain(text: string): string {
  return text.replaceAll("&quot;", '"').replaceAll("&#39;", "'").replaceAll("&lt;", "<")
    .replaceAll("&gt;", ">").replaceAll("&amp;", "&");
}
