// Answers as they come and sound: words and tool calls to the conversation, sound to the speakers,
// and to the server how much of it was heard when somebody spoke.

import { Answer, Call, keep } from "./conversation.js";
import { $, show } from "./page.js";
import { fromBase64 } from "./realtime.js";

/** @typedef {import("./realtime.js").RealtimeClient} RealtimeClient */
/** @typedef {import("./sound.js").Sound} Sound */
/** @typedef {import("./turn.js").Turn} Turn */

export class Answers {
  /** @param {RealtimeClient} client @param {Sound} sound @param {() => void} changed */
  constructor(client, sound, changed) {
    this.client = client;
    this.sound = sound;
    this.changed = changed;
    this.response = ""; // id of the one under way
    /** @type {Set<string>} responses that were cancelled, perhaps before they had begun to speak */
    this.cancelled = new Set();
    /** @type {Turn | null} the one that is being answered */
    this.turn = null;
    /** @type {Map<string, Answer>} by item id */
    this.answers = new Map();
    /** @type {Map<string, Call>} by call id */
    this.calls = new Map();
    /** @type {Set<string>} items that were cut short: their sound is not wanted any more */
    this.dropped = new Set();
    this.listenToServer();
    this.listenToSpeakers();
  }

  get speaking() {
    return [...this.answers.values()].some((answer) => answer.going);
  }

  /** Whether an answer comes or sounds. */
  get busy() {
    return Boolean(this.response) || this.speaking;
  }

  /** Silence the answer and tell the server how much of it was heard ("flushed"). */
  interrupt() {
    if (this.response) {
      this.client.cancel();
      this.cancelled.add(this.response);
    }
    this.response = "";
    this.hush();
  }

  /** Silence what has begun; what begins while the speakers are told is another answer. */
  hush() {
    for (const [id, answer] of this.answers) if (answer.going) this.dropped.add(id);
    this.sound.flush();
  }

  /** What was under way will not go on: its session is gone. */
  abandon() {
    this.sound.flush();
    for (const answer of this.answers.values()) {
      if (answer.going) answer.interrupt(answer.playedMs);
      this.over(answer);
    }
    for (const call of this.calls.values()) call.abandon();
    this.forget();
  }

  /** Know nothing of what was said. */
  forget() {
    this.answers.clear();
    this.calls.clear();
    this.response = "";
  }

  // --- what the server tells ---------------------------------------------------------------------

  listenToServer() {
    const on = this.client.on.bind(this.client);
    on("response.created", ({ response }) => {
      this.response = response.id;
      this.changed();
    });
    on("response.output_item.added", ({ response_id: response, item }) => {
      if (item.type !== "message" || this.cancelled.has(response)) return;
      this.answers.set(item.id, new Answer(item.id));
      this.changed();
    });
    on("response.output_audio_transcript.delta", (event) => this.words(event));
    on("response.output_text.delta", (event) => this.words(event));
    on("response.output_audio.delta", (event) => this.heard(event));
    on("response.builtin_tool_call.in_progress", (event) => this.called(event));
    on("response.builtin_tool_call.done", (event) => this.called(event));
    on("response.done", ({ response }) => this.done(response));
  }

  /** @param {any} event */
  words({ item_id: id, delta }) {
    this.turn?.word();
    this.answers.get(id)?.write(delta);
  }

  /** @param {any} event */
  heard({ item_id: id, delta }) {
    const answer = this.answers.get(id);
    if (!answer || this.dropped.has(id)) return;
    const pcm = fromBase64(delta);
    answer.soundMs += pcm.length / 24;
    this.sound.play(id, pcm);
  }

  /** @param {any} event */
  called({ call_id: id, name, arguments: given, output }) {
    if (!this.calls.has(id)) this.calls.set(id, new Call(name, given));
    if (output === undefined) return;
    this.calls.get(id)?.finish(output);
    keep({ role: "call", text: name, given, output });
  }

  /** @param {any} response */
  done(response) {
    if (response.id === this.response) this.response = "";
    for (const { id } of response.output) {
      const answer = this.answers.get(id);
      if (!answer) continue;
      answer.complete = true;
      if (answer.going && this.dropped.has(id)) continue; // "flushed" ends it
      if (answer.soundMs && !answer.interrupted) this.sound.finish(id);
      else this.over(answer);
    }
    this.changed();
    if (response.status !== "failed") return;
    show(`The answer failed: ${response.status_details?.error?.message ?? "unknown"}`, "error");
  }

  /** @param {Answer} answer */
  over(answer) {
    if (answer.finished) return;
    answer.close();
    const text = answer.interrupted ? answer.text.slice(0, answer.reached) : answer.text;
    keep({ role: "assistant", text, interrupted: answer.interrupted });
  }

  // --- what the speakers tell --------------------------------------------------------------------

  listenToSpeakers() {
    const on = this.sound.on.bind(this.sound);
    on("progress", (event) => this.progress(event));
    on("finished", ({ id }) => {
      const answer = this.answers.get(id);
      if (!answer) return;
      answer.end();
      this.over(answer);
      this.changed();
    });
    on("flushed", ({ heard }) => this.flushed(heard));
  }

  /** @param {any} event */
  progress({ id, playedMs, playing, peak, targetMs, gaps }) {
    $("level-out").style.setProperty("--level", String(Math.min(1, peak * 1.6)));
    const holes = gaps === 1 ? "1 gap" : `${gaps || "no"} gaps`;
    $("buffer").textContent = `Playback: ${holes} so far, ${targetMs} ms held ready`;
    const answer = this.answers.get(id);
    if (!answer) return;
    answer.played(playedMs);
    if (playing && playedMs) this.turn?.heard(answer, playedMs);
  }

  /** @param {{id: string, playedMs: number}[]} heard */
  flushed(heard) {
    const played = new Map(heard.map(({ id, playedMs }) => [id, playedMs]));
    for (const [id, answer] of this.answers) {
      if (!answer.going || !this.dropped.has(id)) continue;
      const playedMs = played.get(id) ?? 0;
      answer.interrupt(playedMs);
      if (answer.soundMs) this.client.truncate(id, playedMs);
      if (answer.complete) this.over(answer);
    }
    this.changed();
  }
}
