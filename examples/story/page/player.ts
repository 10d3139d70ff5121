/**
 * The time of a film: playing, stopping, going anywhere.
 *
 * @module
 */

/** A whole film takes so long at most, and a step so long at most, in milliseconds. */
const longest = { film: 24_000, step: 500 };

/** Below this a step is too short for its way to be seen. */
const shortestWay = 90;

/** Where a film is: so many steps are done, and this part of the next one. */
export interface Moment {
  readonly done: number;
  readonly part: number;
}

/** Plays a film of so many steps. */
export class Player {
  #length = 0;
  #done = 0;
  #part = 0;
  #frame: number | undefined;
  #last = 0;
  #shown = 0;
  readonly #show: (moment: Moment, playing: boolean) => void;
  readonly #reduced = matchMedia("(prefers-reduced-motion: reduce)");

  constructor(show: (moment: Moment, playing: boolean) => void) {
    this.#show = show;
  }

  get playing(): boolean {
    return this.#frame !== undefined;
  }

  /** Puts in another film, at its beginning. */
  insert(length: number): void {
    this.#length = length;
    this.goTo(0);
  }

  /** Stops there. */
  goTo(done: number): void {
    this.#stop();
    this.#done = Math.max(0, Math.min(this.#length, done));
    this.#part = 0;
    this.#report();
  }

  step(): void {
    this.goTo(this.#done + 1);
  }

  /** Plays on, from the beginning after the end; or pauses. */
  toggle(): void {
    if (this.playing) {
      this.#stop();
      return this.#report();
    }
    if (this.#done >= this.#length) this.#done = this.#part = 0;
    this.#last = performance.now();
    this.#request();
    this.#report();
  }

  #request(): void {
    this.#frame = requestAnimationFrame((now) => this.#advance(now));
  }

  #stop(): void {
    if (this.#frame !== undefined) cancelAnimationFrame(this.#frame);
    this.#frame = undefined;
  }

  #advance(now: number): void {
    const perStep = Math.min(longest.step, longest.film / this.#length);
    const time = this.#done + this.#part + Math.max(0, now - this.#last) / perStep;
    this.#last = now;
    this.#done = Math.min(this.#length, Math.floor(time));
    this.#part = this.#done === this.#length ? 0 : time - this.#done;
    if (this.#done === this.#length) this.#stop();
    else this.#request();
    this.#report(perStep);
  }

  #report(perStep = longest.step): void {
    const still = perStep < shortestWay || this.#reduced.matches;
    // Who asks for less motion sees tiles here, then there, and not more often than a step takes.
    const now = performance.now(), early = now - this.#shown < longest.step;
    if (this.#reduced.matches && this.playing && early) return;
    this.#shown = now;
    this.#show({ done: this.#done, part: still ? 0 : this.#part }, this.playing);
  }
}
