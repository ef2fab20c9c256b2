// Microphone -> 24 kHz PCM16 in pieces of 20 ms, and how loud it is: "pcm", "end", and "voice"
// when somebody seems to begin or end to speak. The server decides whether it was speech; this
// guess only lets the speakers hold their breath until it has. Commands: start, stop,
// mute {muted}, speakers {port}: told of each voice, trust {speech}: whether the last one was speech.

import { Resampler } from "./resample.js";

const RATE_HZ = 24000;
const PIECE = RATE_HZ / 50;
const LEAST_RMS = 0.012;
const ABOVE_NOISE = 4;
const SURE = 3; // loud pieces that make a voice
const MOST_DOUBT = 8;

class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.resampler = new Resampler(sampleRate, RATE_HZ);
    this.recording = false;
    this.muted = false;
    this.piece = new Int16Array(PIECE);
    this.filled = 0;
    this.peak = 0;
    this.noise = 0.002; // RMS of the room, followed slowly upward
    this.loud = 0; // pieces in a row, up to 2 SURE
    this.voice = false;
    this.doubt = 1; // grows with each noise, as of the answer's own echo, that was taken for a voice
    /** @type {MessagePort | null} */
    this.speakers = null;
    this.port.onmessage = ({ data }) => this.command(data);
  }

  /** @param {{type: string, muted?: boolean, port?: MessagePort, speech?: boolean}} data */
  command(data) {
    if (data.type === "speakers") this.speakers = data.port ?? null;
    if (data.type === "trust") this.doubt = data.speech ? 1 : Math.min(MOST_DOUBT, 2 * this.doubt);
    if (data.type === "mute") this.muted = Boolean(data.muted);
    if (data.type === "start" && !this.recording) {
      this.resampler.reset();
      this.filled = 0;
      this.recording = true;
    }
    if (data.type === "stop" && this.recording) {
      this.recording = false;
      this.collect(this.resampler.flush());
      this.send();
      this.loud = 0;
      this.say(false);
      this.port.postMessage({ type: "end" }); // after the last samples, so that none is lost
    }
  }

  /** @param {Float32Array[][]} inputs */
  process([input]) {
    if (this.recording && input[0]) {
      this.collect(this.resampler.push(this.muted ? new Float32Array(input[0].length) : input[0]));
    }
    return true;
  }

  /** @param {Float32Array} samples */
  collect(samples) {
    for (const sample of samples) {
      this.peak = Math.max(this.peak, Math.abs(sample));
      const scaled = Math.round(sample * 32768);
      this.piece[this.filled++] = Math.max(-32768, Math.min(32767, scaled));
      if (this.filled === PIECE) this.send();
    }
  }

  /** @param {Int16Array} pcm */
  listen(pcm) {
    const rms = Math.sqrt(pcm.reduce((sum, s) => sum + (s / 32768) ** 2, 0) / pcm.length);
    this.noise = Math.min(Math.max(rms, 1e-4), this.noise * 1.01);
    const loud = rms > this.doubt * Math.max(LEAST_RMS, ABOVE_NOISE * this.noise);
    this.loud = loud ? Math.min(2 * SURE, this.loud + 1) : Math.max(0, this.loud - 1);
    this.say(this.voice ? this.loud > 0 : this.loud >= SURE);
  }

  /** @param {boolean} voice */
  say(voice) {
    if (voice === this.voice) return;
    this.voice = voice;
    if (voice) this.speakers?.postMessage({ type: "voice" });
    this.port.postMessage({ type: "voice", on: voice });
  }

  send() {
    if (!this.filled) return;
    const pcm = this.piece.slice(0, this.filled);
    this.listen(pcm);
    this.port.postMessage({ type: "pcm", pcm, peak: this.peak }, [pcm.buffer]);
    this.filled = 0;
    this.peak = 0;
  }
}

registerProcessor("capture", Capture);
