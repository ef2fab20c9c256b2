// How long a turn takes: from the end of speech to the decision that it was the end, the first
// word and the first sound. Shown once a turn, under its answer.

import { element } from "./page.js";

/** @typedef {import("./conversation.js").Bubble} Bubble */

const ms = (/** @type {number} */ value) => `${Math.round(value)} ms`;

export class Turn {
  /** @param {number} lagMs how long ago the person fell silent */
  constructor(lagMs = 0) {
    this.decided = performance.now();
    this.end = this.decided - lagMs;
    this.token = 0; // not yet
    this.shown = false;
  }

  /** A word came. */
  word() {
    this.token ||= performance.now();
  }

  /** @param {Bubble} answer @param {number} playedMs how much of it was heard by now */
  heard(answer, playedMs) {
    if (this.shown) return;
    this.shown = true;
    const sound = performance.now() - playedMs;
    const times = [this.decided - this.end, this.token - this.end, sound - this.end];
    answer.attach(timeline(times));
  }
}

/** @param {number[]} times until the decision, the word, the sound @returns {HTMLElement} */
const timeline = ([decidedMs, tokenMs, soundMs]) => {
  const line = element("div", "timeline");
  const words = `turn over ${ms(decidedMs)}, first word ${ms(tokenMs)}, first sound ${ms(soundMs)} after the end of speech`;
  line.setAttribute("role", "img");
  line.setAttribute("aria-label", words);
  line.title = words;
  const bar = element("div", "bar");
  let from = 0;
  for (const [name, at] of /** @type {[string, number][]} */ ([
    ["decided", decidedMs], ["token", tokenMs], ["sound", soundMs],
  ])) {
    const part = element("i", name);
    part.style.setProperty("flex-grow", String(Math.max(0, at - from)));
    from = Math.max(from, at);
    bar.append(part);
  }
  const s = (/** @type {number} */ value) => (value / 1000).toFixed(2);
  line.append(bar, element("small", "", `word ${s(tokenMs)} s, sound ${s(soundMs)} s`));
  return line;
};
