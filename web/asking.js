// A question that asks itself: played and sent as if it were spoken, unless somebody thinks better
// of it in the middle.

import { Question } from "./conversation.js";
import { ask, show } from "./page.js";
import { Turn } from "./turn.js";

/** @typedef {import("./talk.js").Talk} Talk */

const PIECE = 2400; // samples in a message

export class Asking {
  /** @param {Talk} talk */
  constructor(talk) {
    this.talk = talk;
    /**
     * Whether the microphone was live before, whether the sound was sent, what stops it here.
     * @type {{live: boolean, sent: boolean, sound: AbortController} | null}
     */
    this.now = null;
  }

  /** Ask aloud from a file. @param {string} url */
  async play(url) {
    const { talk } = this;
    const live = talk.giveWay();
    talk.answers.interrupt();
    const own = { live, sent: false, sound: new AbortController() };
    this.now = own;
    show("Asking…", "busy");
    talk.pause();
    talk.refresh();
    try {
      await talk.client.wake();
      const { pcm, buffer } = await talk.sound.decode(await (await ask(url)).arrayBuffer());
      if (own !== this.now) return;
      own.sent = true;
      this.send(pcm);
      await talk.sound.playFile(buffer, own.sound.signal);
      if (own !== this.now) return;
      talk.answers.turn = new Turn();
      talk.client.commit();
      talk.detectTurns(talk.handsFree);
    } finally {
      if (own === this.now) {
        this.now = null;
        talk.refresh();
      }
    }
    if (live) await talk.start();
    talk.refresh();
  }

  /** @param {Int16Array} pcm 24 kHz */
  send(pcm) {
    const { talk } = this;
    talk.detectTurns(false);
    talk.client.send("input_audio_buffer.clear");
    for (let at = 0; at < pcm.length; at += PIECE) talk.append(pcm.slice(at, at + PIECE));
    talk.waiting = new Question();
  }

  /** The session is gone, and what was sent with it; what still loads goes to the next one. */
  lost() {
    if (this.now?.sent) this.quit();
  }

  /** End it; returns whether the microphone was to listen again after it. */
  quit() {
    const { now, talk } = this;
    if (!now) return false;
    this.now = null;
    now.sound.abort();
    if (now.sent) {
      talk.client.send("input_audio_buffer.clear");
      talk.unask();
      talk.detectTurns(talk.handsFree);
    }
    return now.live;
  }
}
