// The conversation as it unfolds: bubbles, tool calls, marks of interruption, timelines; and its
// words in the tab's storage, so that a reload or a lost connection does not lose them.

import { tabMemory } from "./memory.js";
import { $, element } from "./page.js";

const STORE = "step-audio.conversation";
const MOST_KEPT = 40;
const CHARS_PER_S = 14; // of an answer whose length is not known yet
const NEAR_END_PX = 48;

/**
 * A question, an answer, or a tool call, whose name is its text.
 * @typedef {{role: "user" | "assistant" | "call", text: string, interrupted?: boolean,
 *   given?: string, output?: string}} Line
 */

let atEnd = true; // else somebody has scrolled up to read, and is left alone
$("conversation").addEventListener("scroll", () => {
  const { scrollHeight, scrollTop, clientHeight } = $("conversation");
  atEnd = scrollHeight - scrollTop - clientHeight < NEAR_END_PX;
});
const follow = () => {
  if (atEnd) $("conversation").scrollTop = $("conversation").scrollHeight;
};

/** One bubble. */
export class Bubble {
  /** @param {"user" | "assistant"} role */
  constructor(role) {
    this.node = element("article", `bubble ${role}`);
    this.node.setAttribute("aria-label", role === "user" ? "You" : "Assistant");
    this.body = element("p");
    this.said = element("span", "said");
    this.ahead = element("span", "ahead");
    this.body.append(this.said, this.ahead);
    this.node.append(this.body);
    $("conversation").append(this.node);
    follow();
  }

  /** @param {string} name @param {boolean} on */
  mark(name, on) {
    this.node.classList.toggle(name, on);
  }

  /** @param {HTMLElement} node */
  attach(node) {
    this.node.append(node);
    follow();
  }
}

export class Question extends Bubble {
  constructor(text = "") {
    atEnd = true;
    super("user");
    this.hear(text);
  }

  /** @param {string} text "" while it is not known */
  hear(text) {
    this.text = text;
    this.said.textContent = text || "…";
    this.mark("pending", !text);
    follow();
  }
}

export class Answer extends Bubble {
  /** @param {string} id of the item */
  constructor(id) {
    super("assistant");
    this.node.setAttribute("aria-busy", "true"); // screen readers read it once, not word by word
    this.id = id;
    this.text = "";
    this.drawn = -1; // characters shown as heard
    this.soundMs = 0; // received
    this.playedMs = 0;
    this.complete = false;
    this.finished = false; // nothing of it follows
    this.interrupted = false;
  }

  /** Whether it comes or sounds. */
  get going() {
    return !this.finished && !this.interrupted;
  }

  /** Characters that the sound has reached. */
  get reached() {
    if (!this.soundMs) return this.complete ? this.text.length : 0;
    const rate = this.complete ? this.text.length / this.soundMs : CHARS_PER_S / 1000;
    const at = Math.round(this.playedMs * rate);
    const end = this.text.indexOf(" ", at); // whole words
    return at >= this.text.length || end < 0 ? (at ? this.text.length : 0) : end;
  }

  draw() {
    const at = this.reached;
    if (at === this.drawn) return;
    this.drawn = at;
    this.said.textContent = this.text.slice(0, at);
    this.ahead.textContent = this.text.slice(at);
  }

  /** @param {string} delta */
  write(delta) {
    this.text += delta;
    this.drawn = -1;
    this.draw();
    follow();
  }

  /** @param {number} playedMs */
  played(playedMs) {
    this.playedMs = Math.max(this.playedMs, playedMs);
    this.draw();
  }

  /** All of it has been heard. */
  end() {
    this.complete = true;
    this.playedMs = this.soundMs;
    this.draw();
  }

  /** Nothing of it follows. */
  close() {
    this.finished = true;
    this.node.removeAttribute("aria-busy");
  }

  /** @param {number} playedMs what was heard before somebody spoke */
  interrupt(playedMs) {
    this.interrupted = true;
    this.played(playedMs);
    this.mark("interrupted", true);
    this.attach(element("small", "mark", `interrupted after ${(playedMs / 1000).toFixed(1)} s`));
  }
}

/** A tool call, its arguments and result. */
export class Call {
  /** @param {string} name @param {string} callArguments JSON */
  constructor(name, callArguments) {
    this.node = /** @type {HTMLDetailsElement} */ (element("details", "call"));
    this.node.open = true;
    const head = element("summary", "", name);
    this.state = element("span", "state", "running");
    head.append(this.state);
    this.node.append(head, element("code", "arguments", callArguments));
    $("conversation").append(this.node);
    follow();
  }

  /** @param {string} output */
  finish(output) {
    this.state.textContent = "done";
    this.node.append(element("code", "result", output));
    follow();
  }

  /** Its result will not come. */
  abandon() {
    if (this.state.textContent === "running") this.state.textContent = "lost with the connection";
  }
}

/** @returns {Line[]} what was said in this tab before */
export const kept = () => {
  const lines = tabMemory.read(STORE, []);
  return Array.isArray(lines) ? lines : [];
};

/** @param {Line} line */
export const keep = (line) => {
  if (!line.text) return;
  tabMemory.set(STORE, JSON.stringify([...kept(), line].slice(-MOST_KEPT)));
};

/** Show what was said before a reload. */
export const showKept = () => {
  for (const line of kept()) {
    if (line.role === "user") new Question(line.text);
    else if (line.role === "call") new Call(line.text, line.given ?? "").finish(line.output ?? "");
    else {
      const answer = new Answer("");
      answer.complete = true;
      answer.write(line.text);
      answer.close();
      answer.mark("interrupted", Boolean(line.interrupted));
    }
  }
};

export const forget = () => {
  tabMemory.set(STORE, null);
  for (const node of [...$("conversation").children]) if (node.id !== "welcome") node.remove();
};
