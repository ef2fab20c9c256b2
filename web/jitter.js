// How much sound to hold back: little on a steady line, more after every gap.

export const START_MS = 80;
const MOST_MS = 400;
export const LEAST_MS = 65; // 50 of the network, 10 of a sound card that takes its sound in bursts
const RAISE = 1.5;
const CALM_MS = 8000;
const ANSWERS = 3; // that tell how far ahead of its sound the server is
const LOWER = 0.85;

/**
 * Decides when a queue of sound may start to play. What protects from late pieces is not how much
 * is there but for how long: pieces of 120 ms that come every 120 ms leave no time to spare when
 * the first one plays at once, and 80 ms when it waits for 80. Times are of sound, not of a clock.
 */
export class JitterBuffer {
  constructor() {
    this.targetMs = START_MS;
    this.gaps = 0;
    this.calmMs = 0;
    /** @type {number[]} of the last answers, see `learn` */
    this.leadsMs = [];
  }

  /** How long the next first piece waits: a server that speaks faster than it is heard waits for us. */
  get waitMs() {
    const leadMs = this.leadsMs.length ? Math.min(...this.leadsMs) : 0;
    return Math.max(0, this.targetMs - Math.max(0, leadMs));
  }

  /** @param {number} ms by which an answer's sound was ahead, had its first piece played at once */
  learn(ms) {
    this.leadsMs = [...this.leadsMs, ms].slice(-ANSWERS);
  }

  /**
   * Whether playing may begin: the first piece has waited, or what came faster than it plays is
   * as good as waiting.
   * @param {{waitedMs: number, bufferedMs: number, longestMs: number, complete: boolean}} queue how
   *   long its first sound has waited, how much there is, its longest piece, whether nothing follows
   */
  mayStart({ waitedMs, bufferedMs, longestMs, complete }) {
    if (!bufferedMs) return false;
    return complete || waitedMs >= this.waitMs || bufferedMs >= longestMs + this.waitMs;
  }

  /**
   * The queue ran dry in the middle of an answer. As much more would have bridged it; what nothing
   * could have bridged was no jitter, and is not waited for again.
   * @param {number} ms until the next sound came
   */
  starved(ms) {
    const enough = this.targetMs + ms;
    this.gaps += 1;
    this.calmMs = 0;
    this.targetMs = Math.max(RAISE * this.targetMs, enough <= MOST_MS ? enough : 0);
    this.targetMs = Math.min(MOST_MS, Math.round(this.targetMs));
  }

  /** @param {number} ms of sound that was played without a gap */
  played(ms) {
    this.calmMs += ms;
    if (this.calmMs < CALM_MS) return;
    this.calmMs = 0;
    this.targetMs = Math.max(LEAST_MS, Math.round(this.targetMs * LOWER));
  }
}
