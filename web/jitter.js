// How much sound to hold back: little on a steady line, more after every gap.

export const START_MS = 80;
const MOST_MS = 400;
const LEAST_MS = 60;
const RAISE = 1.5;
const CALM_MS = 8000;
const LOWER_MS = 10;

/** Decides when a queue of sound may start to play. Times are of sound, not of a clock. */
export class JitterBuffer {
  constructor() {
    this.targetMs = START_MS;
    this.gaps = 0;
    this.calmMs = 0;
  }

  /**
   * Whether playing may begin.
   * @param {number} bufferedMs
   * @param {boolean} complete nothing follows
   */
  mayStart(bufferedMs, complete) {
    return bufferedMs > 0 && (complete || bufferedMs >= this.targetMs);
  }

  /** The queue ran dry in the middle of an answer. */
  starved() {
    this.gaps += 1;
    this.calmMs = 0;
    this.targetMs = Math.min(MOST_MS, Math.round(this.targetMs * RAISE));
  }

  /** @param {number} ms of sound that was played without a gap */
  played(ms) {
    this.calmMs += ms;
    if (this.calmMs < CALM_MS) return;
    this.calmMs = 0;
    this.targetMs = Math.max(LEAST_MS, this.targetMs - LOWER_MS);
  }
}
