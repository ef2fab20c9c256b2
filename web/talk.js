// The conversation's control: what the person does and says, and who has the floor.

import { Answers } from "./answers.js";
import { Asking } from "./asking.js";
import { Question, forget, keep, kept } from "./conversation.js";
import { $, show } from "./page.js";
import { offerVoice, settings } from "./settings.js";
import { microphoneTrouble } from "./sound.js";
import { PageTools, TOOLS } from "./tools.js";
import { Turn } from "./turn.js";

/** @typedef {import("./realtime.js").RealtimeClient} RealtimeClient */
/** @typedef {import("./sound.js").Sound} Sound */

const PATIENCE_MS = 700; // after a sound that may have been speech

export class Talk {
  /** @param {RealtimeClient} client @param {Sound} sound */
  constructor(client, sound) {
    this.client = client;
    this.sound = sound;
    /** @type {{hold: boolean} | null} the microphone is about to open, to be held or hands-free */
    this.opening = null;
    this.asking = new Asking(this);
    this.live = false; // the microphone streams, the server finds the turns
    this.holding = false; // push to talk: the microphone streams until it is let go
    this.recording = false; // until the last sample of it is here
    this.discard = false; // what is recorded is for nobody
    this.canDetect = true;
    this.sentSamples = 0; // to the input buffer, in this session
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.breath = undefined;
    this.answers = new Answers(client, sound, () => this.refresh());
    this.tools = new PageTools(client);
    /** @type {Map<string, Question>} by item id */
    this.questions = new Map();
    /** @type {Question | null} a spoken question without an item id yet */
    this.waiting = null;
    this.listenToServer();
    this.listenToMicrophone();
  }

  get handsFree() {
    return this.canDetect && /** @type {HTMLSelectElement} */ ($("turns")).value === "auto";
  }

  // --- what the person does ----------------------------------------------------------------------

  /** Hands-free it starts the conversation, else one question. @param {{hold?: boolean}} [how] */
  async start({ hold = !this.handsFree } = {}) {
    if (!this.client.usable || this.live || this.holding || this.opening) return;
    this.asking.quit();
    this.answers.interrupt();
    const opening = (this.opening = { hold });
    show("Opening the microphone…", "busy");
    this.refresh();
    try {
      await this.sound.microphone();
      await this.client.wake();
    } catch (error) {
      if (opening !== this.opening) return;
      this.opening = null;
      this.refresh();
      show(microphoneTrouble(error), "error");
      return;
    }
    if (opening === this.opening) this.listen(opening.hold);
  }

  /** @param {boolean} hold until it is let go, or hands-free */
  listen(hold) {
    this.opening = null;
    this.detectTurns(!hold);
    this.live = !hold;
    this.holding = hold;
    this.discard = false;
    this.recording = true;
    this.sound.record();
    this.refresh();
  }

  /** A key that was let go at once: hands-free it was meant to start the conversation. */
  tap() {
    if (!this.handsFree) this.send();
    else if (this.opening) this.opening.hold = false;
    else if (this.holding) this.listen(false);
  }

  /** Push to talk: let go, and it is sent. */
  send() {
    if (this.opening?.hold) { // the browser has asked the person meanwhile
      this.opening = null;
      this.refresh();
    }
    if (!this.holding) return;
    this.holding = false;
    this.sound.stopRecording(); // "end" follows its last samples
    this.waiting = new Question();
    this.answers.turn = new Turn();
    this.refresh();
  }

  /** End everything: the answer, the recording, the microphone. */
  stop() {
    this.asking.quit();
    this.pause();
    this.opening = null;
    this.sound.release();
    this.answers.interrupt();
    if (this.client.open) show("");
    this.refresh();
  }

  /** Listen no more; what was heard of a question is forgotten. */
  pause() {
    this.discard = true;
    if (!this.recording) return;
    this.sound.stopRecording();
    this.live = this.holding = false;
    this.client.send("input_audio_buffer.clear");
    this.unask();
  }

  /** @param {string} text */
  async type(text) {
    const live = this.asking.quit();
    this.answers.interrupt();
    await this.sound.ready();
    await this.client.wake();
    new Question(text);
    keep({ role: "user", text });
    this.answers.turn = new Turn();
    this.client.ask(text);
    if (live) await this.start();
    this.refresh();
  }

  /**
   * Something else is asked than what the microphone or a sample was about to; returns whether the
   * microphone is to listen again after it.
   */
  giveWay() {
    const live = this.asking.quit() || this.live || this.opening?.hold === false;
    this.opening = null;
    return live;
  }

  /** Begin anew: the server forgets with the connection. */
  clear() {
    this.asking.quit();
    this.answers.interrupt();
    this.answers.forget();
    forget();
    this.client.renew();
  }

  /** @param {boolean} on */
  detectTurns(on) {
    this.client.update({ audio: { input: { turn_detection: on ? { type: "server_vad" } : null } } });
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
    on("session.resumed", () => {
      show("");
      this.refresh();
    });
    on("close", (event) => this.lost(event));
    on("input_audio_buffer.speech_started", () => this.spokenTo());
    on("input_audio_buffer.speech_stopped", (event) => {
      const lagMs = this.sentSamples / 24 - event.audio_end_ms; // sound sent since then
      this.answers.turn = new Turn(Math.max(0, lagMs));
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
    on("conversation.item.input_audio_transcription.failed", ({ item_id: id }) => {
      this.questions.get(id)?.hear("(not understood)");
    });
    on("input_audio_buffer.cleared", () => this.live && this.unask()); // it was no speech
    on("error", ({ error }) => this.failed(error));
  }

  /** The session is not the one of before: what was under way will not go on. */
  anew() {
    this.asking.lost();
    this.answers.abandon();
    this.questions.clear();
    this.unask();
    this.sentSamples = 0;
  }

  /** The question that seemed to come does not. */
  unask() {
    this.waiting?.node.remove();
    this.waiting = null;
  }

  /** @param {any} session */
  begun(session) {
    this.anew();
    this.canDetect = Boolean(session.audio.input.turn_detection);
    /** @type {HTMLOptionElement} */ ($("turns-auto")).disabled = !this.canDetect;
    if (!this.canDetect) /** @type {HTMLSelectElement} */ ($("turns")).value = "push";
    offerVoice(session.audio.output.voice);
    this.client.update({
      ...settings(),
      tools: TOOLS,
      include: ["response.builtin_tool_call"],
    });
    this.client.update({ audio: { input: { transcription: { model: session.model } } } });
    this.detectTurns(this.handsFree);
    for (const { role, text } of kept()) if (role !== "call") this.client.tell(role, text); // it forgot
    show("");
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
    this.answers.hush();
    this.waiting ??= new Question();
    this.refresh();
  }

  /** @param {any} error */
  failed(error) {
    if (error.code === "response_cancel_not_active") return; // it had just ended
    if (error.code === "session_expired") return; // "close" says what follows
    if (error.code === "input_audio_buffer_commit_empty") {
      this.unask();
      show("That was too short: hold the button while you speak.", "error");
    } else show(error.message, "error");
  }

  // --- what the microphone tells -----------------------------------------------------------------

  listenToMicrophone() {
    const on = this.sound.on.bind(this.sound);
    on("pcm", ({ pcm, peak }) => {
      if (this.live || this.holding || !this.discard) this.append(pcm);
      $("level-in").style.setProperty("--level", String(Math.min(1, peak * 1.6)));
    });
    on("end", () => {
      $("level-in").style.setProperty("--level", "0");
      this.recording = false;
      if (!this.discard) this.client.commit();
    });
    on("voice", (event) => this.voice(event.on));
    on("opened", () => this.refresh());
    on("gone", () => {
      const missed = this.live || this.holding;
      this.pause();
      this.refresh();
      if (missed) show("The microphone is gone: unplugged, or no longer allowed. Press Start to go on.", "error");
    });
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

  // --- what is shown -----------------------------------------------------------------------------

  refresh() {
    for (const id of ["start", "text-input", "text-send"]) {
      /** @type {HTMLButtonElement} */ ($(id)).disabled = !this.client.usable;
    }
    const on = this.live || this.holding;
    $("start").setAttribute("aria-pressed", String(on));
    const listening = this.sound.muted ? "Muted" : "Listening";
    $("start-label").textContent = this.live ? listening : this.holding ? "Send" : "Start";
    const { speaking, busy } = this.answers;
    /** @type {HTMLButtonElement} */ ($("stop")).disabled =
      !(on || busy || this.asking.now || this.opening || this.sound.stream);
    document.body.dataset.state = speaking ? "speaking" : on ? "listening" : "idle";
    if (!this.client.open) return;
    if (speaking) show(this.live ? "Speaking… just talk to interrupt" : "Speaking…", "live");
    else if (busy) show("Thinking…", "busy");
    else if (this.opening) show("Opening the microphone…", "busy");
    else if (this.asking.now) show("Asking…", "busy");
    else if (on && this.sound.muted) show("Muted: press Mute to be heard", "busy");
    else if (this.holding) show("Listening… let go, or press again, to send", "live");
    else if (this.live) show("Listening… ask something", "live");
    else if ($("status").dataset.kind !== "error") show("Ready"); // what went wrong can be read
  }
}
