// The conversation's control: buttons, microphone and socket on one side, bubbles on the other.

import { Answer, Call, Question, forget, keep, kept } from "./conversation.js";
import { $, show } from "./page.js";
import { fromBase64 } from "./realtime.js";
import { microphoneTrouble } from "./sound.js";
import { Turn } from "./turn.js";

/** @typedef {import("./realtime.js").RealtimeClient} RealtimeClient */
/** @typedef {import("./sound.js").Sound} Sound */

const PATIENCE_MS = 700; // after a sound that may have been speech

export class Talk {
  /** @param {RealtimeClient} client @param {Sound} sound */
  constructor(client, sound) {
    this.client = client;
    this.sound = sound;
    this.live = false; // the microphone streams, the server finds the turns
    this.holding = false; // push to talk: the microphone streams until it is let go
    this.discard = false;
    this.canDetect = true;
    this.response = ""; // id of the one under way
    this.sentSamples = 0; // to the input buffer, in this session
    /** @type {Turn | null} the one that is being answered */
    this.turn = null;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.breath = undefined;
    /** @type {Map<string, Answer>} by item id */
    this.answers = new Map();
    /** @type {Map<string, Question>} by item id */
    this.questions = new Map();
    /** @type {Map<string, Call>} by call id */
    this.calls = new Map();
    /** @type {Set<string>} items whose sound is not wanted any more */
    this.dropped = new Set();
    /** @type {Question | null} a spoken question without an item id yet */
    this.waiting = null;
    this.listenToServer();
    this.listenToSound();
  }

  get speaking() {
    return [...this.answers.values()].some((answer) => !answer.interrupted && !answer.finished);
  }

  get handsFree() {
    return this.canDetect && /** @type {HTMLSelectElement} */ ($("turns")).value === "auto";
  }

  // --- what the person does ----------------------------------------------------------------------

  /** The big button: hands-free it starts the conversation, else one question. */
  async start() {
    if (!this.client.usable || this.live || this.holding) return;
    this.interrupt();
    show("Opening the microphone…", "busy");
    try {
      await this.sound.microphone();
    } catch (error) {
      show(microphoneTrouble(error), "error");
      return;
    }
    await this.client.wake();
    this.detectTurns(this.handsFree);
    this.live = this.handsFree;
    this.holding = !this.live;
    this.discard = false;
    this.sound.record();
    this.refresh();
  }

  /** Push to talk: let go, and it is sent. */
  send() {
    if (!this.holding) return;
    this.holding = false;
    this.sound.stopRecording(); // "end" follows its last samples
    this.waiting = new Question();
    this.turn = new Turn();
    this.refresh();
  }

  /** End everything: the answer, the recording, the microphone. */
  stop() {
    this.discard = true;
    if (this.live || this.holding) this.sound.stopRecording();
    this.live = this.holding = false;
    this.sound.release();
    this.interrupt();
    this.refresh();
  }

  /** Silence the answer and tell the server how much of it was heard ("flushed"). */
  interrupt() {
    if (this.response) this.client.cancel();
    this.response = "";
    this.sound.flush();
  }

  /** @param {string} text */
  async type(text) {
    this.interrupt();
    await this.sound.ready();
    await this.client.wake();
    new Question(text);
    keep({ role: "user", text });
    this.turn = new Turn();
    this.client.ask(text);
    this.refresh();
  }

  /** Ask aloud from a file: it is played and sent as if it were spoken. @param {string} url */
  async play(url) {
    this.interrupt();
    show("Asking…", "busy");
    await this.client.wake();
    const { pcm, buffer } = await this.sound.decode(await (await fetch(url)).arrayBuffer());
    const live = this.live;
    if (live) this.sound.stopRecording();
    this.live = false;
    this.discard = true;
    this.detectTurns(false);
    this.client.send("input_audio_buffer.clear");
    for (let at = 0; at < pcm.length; at += 2400) this.append(pcm.slice(at, at + 2400));
    this.waiting = new Question();
    await this.sound.playFile(buffer);
    this.turn = new Turn();
    this.client.commit();
    this.detectTurns(this.handsFree);
    if (live) await this.start();
    this.refresh();
  }

  /** Begin anew: the server forgets with the connection. */
  clear() {
    this.interrupt();
    forget();
    this.client.renew();
  }

  /** @param {boolean} on */
  detectTurns(on) {
    this.client.update({ audio: { input: { turn_detection: on ? { type: "server_vad" } : null } } });
  }

  /** What the settings say, as the session is told it. */
  settings() {
    const value = (/** @type {string} */ id) => /** @type {HTMLInputElement} */ ($(id)).value;
    const role = value("role").trim();
    return {
      instructions: role,
      style: { role: role || null, emotion: value("style") || null },
      audio: {
        output: { voice: value("voice") || undefined, speed: Number(value("speed")) },
      },
    };
  }

  /** @param {Int16Array} pcm */
  append(pcm) {
    this.sentSamples += pcm.length;
    this.client.append(pcm);
  }

  // --- what the server tells ---------------------------------------------------------------------

  listenToServer() {
    const on = this.client.on.bind(this.client);
    on("session.created", (event) => this.begun(event.session));
    on("session.resumed", () => this.refresh());
    on("close", (event) => this.lost(event));
    on("input_audio_buffer.speech_started", () => this.spokenTo());
    on("input_audio_buffer.speech_stopped", (event) => {
      const lagMs = this.sentSamples / 24 - event.audio_end_ms; // sound sent since then
      this.turn = new Turn(Math.max(0, lagMs));
      this.refresh();
    });
    on("input_audio_buffer.committed", ({ item_id: id }) => {
      this.questions.set(id, this.waiting ?? new Question());
      this.waiting = null;
    });
    on("conversation.item.input_audio_transcription.completed", ({ item_id: id, transcript }) => {
      this.questions.get(id)?.hear(transcript || "(nothing understood)");
      keep({ role: "user", text: transcript });
    });
    on("response.created", ({ response }) => {
      this.response = response.id;
      this.refresh();
    });
    on("response.output_item.added", ({ item }) => {
      if (item.type !== "message") return;
      this.answers.set(item.id, new Answer(item.id));
      this.refresh();
    });
    on("response.output_audio_transcript.delta", (event) => this.words(event));
    on("response.output_text.delta", (event) => this.words(event));
    on("response.output_audio.delta", (event) => this.heard(event));
    on("response.builtin_tool_call.in_progress", (event) => this.called(event));
    on("response.builtin_tool_call.done", (event) => this.called(event));
    on("response.done", ({ response }) => this.done(response));
    on("error", ({ error }) => this.failed(error));
  }

  /** The session is not the one of before: what was under way will not go on. */
  anew() {
    this.sound.flush();
    this.answers.clear();
    this.questions.clear();
    this.calls.clear();
    this.waiting?.node.remove();
    this.waiting = null;
    this.response = "";
    this.sentSamples = 0;
  }

  /** @param {any} session */
  begun(session) {
    this.anew();
    this.canDetect = Boolean(session.audio.input.turn_detection);
    /** @type {HTMLOptionElement} */ ($("turns-auto")).disabled = !this.canDetect;
    if (!this.canDetect) /** @type {HTMLSelectElement} */ ($("turns")).value = "push";
    const voice = /** @type {HTMLSelectElement} */ ($("voice"));
    voice.value ||= session.audio.output.voice;
    this.client.update({
      ...this.settings(),
      include: ["response.builtin_tool_call"],
    });
    this.client.update({ audio: { input: { transcription: { model: session.model } } } });
    this.detectTurns(this.handsFree);
    for (const { role, text } of kept()) if (role !== "call") this.client.tell(role, text); // it forgot
    this.refresh();
  }

  /** @param {any} event */
  lost({ resuming, asleep }) {
    if (asleep) this.stop(); // the microphone has listened to nothing for long enough
    if (!resuming) this.anew();
    this.refresh();
  }

  /** Somebody speaks: what is playing stops here, whatever the server does. */
  spokenTo() {
    this.sound.trust(true);
    this.sound.flush();
    this.waiting ??= new Question();
    this.refresh();
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
      if (answer.soundMs && !answer.interrupted) this.sound.finish(id);
      else this.over(answer);
    }
    if (response.status === "failed") {
      show(`The answer failed: ${response.status_details?.error?.message ?? "unknown"}`, "error");
    } else this.refresh();
  }

  /** @param {Answer} answer */
  over(answer) {
    if (answer.finished) return;
    answer.finished = true;
    const text = answer.interrupted ? answer.text.slice(0, answer.reached) : answer.text;
    keep({ role: "assistant", text, interrupted: answer.interrupted });
  }

  /** @param {any} error */
  failed(error) {
    if (error.code === "response_cancel_not_active") return; // it had just ended
    if (error.code === "session_expired") return; // "close" says what follows
    if (error.code === "input_audio_buffer_commit_empty") {
      this.waiting?.node.remove();
      this.waiting = null;
      show("That was too short: hold the button while you speak.", "error");
    } else show(error.message, "error");
  }

  // --- what the microphone and the speakers tell -------------------------------------------------

  listenToSound() {
    const on = this.sound.on.bind(this.sound);
    on("pcm", ({ pcm, peak }) => {
      if (this.live || this.holding || !this.discard) this.append(pcm);
      $("level-in").style.setProperty("--level", String(Math.min(1, peak * 1.6)));
    });
    on("end", () => {
      $("level-in").style.setProperty("--level", "0");
      if (this.discard) this.client.send("input_audio_buffer.clear");
      else this.client.commit();
    });
    on("voice", (event) => this.voice(event.on));
    on("progress", (event) => this.progress(event));
    on("finished", ({ id }) => {
      const answer = this.answers.get(id);
      if (!answer) return;
      answer.end();
      this.over(answer);
      this.refresh();
    });
    on("flushed", ({ heard }) => this.flushed(heard));
  }

  /**
   * Somebody seems to speak, and the answer holds its breath (the worklets see to that) until the
   * server has said that it was speech ("speech_started"), or it was over so soon that it was not.
   * @param {boolean} on
   */
  voice(on) {
    clearTimeout(this.breath);
    if (!on) this.breath = setTimeout(() => this.sound.goOn(), PATIENCE_MS);
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
      if (answer.finished || answer.interrupted) continue;
      const playedMs = played.get(id) ?? 0;
      this.dropped.add(id);
      answer.interrupt(playedMs);
      if (answer.soundMs) this.client.truncate(id, playedMs);
      if (answer.complete) this.over(answer);
    }
    this.refresh();
  }

  // --- what is shown -----------------------------------------------------------------------------

  refresh() {
    for (const id of ["start", "text-input", "text-send"]) {
      /** @type {HTMLButtonElement} */ ($(id)).disabled = !this.client.usable;
    }
    const on = this.live || this.holding;
    $("start").setAttribute("aria-pressed", String(on));
    $("start-label").textContent = this.live ? "Listening" : this.holding ? "Send" : "Start";
    /** @type {HTMLButtonElement} */ ($("stop")).disabled = !(on || this.response || this.speaking);
    document.body.dataset.state = this.speaking ? "speaking" : on ? "listening" : "idle";
    if (!this.client.open) return;
    if (this.speaking) show("Speaking… just talk to interrupt", "live");
    else if (this.response) show("Thinking…", "busy");
    else if (this.holding) show("Listening… let go, or press again, to send", "live");
    else if (this.live) show("Listening… ask something", "live");
    else show("Ready");
  }
}
