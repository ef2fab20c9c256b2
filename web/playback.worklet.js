// 24 kHz PCM16 -> speakers: waits for a little sound, fades at the edges, counts what was heard.

import { Resampler } from "./resample.js";

const RATE_HZ = 24000;
const AHEAD_S = 0.08; // buffered before the first sample is played
const FADE_S = 0.004;
const REPORT_S = 0.05;

class Playback extends AudioWorkletProcessor {
  constructor() {
    super();
    this.resampler = new Resampler(RATE_HZ, sampleRate);
    this.clear();
    this.reported = 0;
    this.port.onmessage = ({ data }) => this.command(data);
  }

  command(data) {
    if (data.type === "clear") this.clear();
    if (data.type === "pcm") this.add(this.resampler.push(Float32Array.from(data.pcm, (s) => s / 32768)));
    if (data.type === "end") {
      this.add(this.resampler.flush());
      this.ended = true;
    }
  }

  clear() {
    this.resampler.reset();
    this.queue = [];
    this.offset = 0; // into the first piece
    this.buffered = 0;
    this.played = 0;
    this.playing = false;
    this.ended = false;
    this.gain = 0;
  }

  add(samples) {
    if (!samples.length) return;
    this.queue.push(samples);
    this.buffered += samples.length;
  }

  next() {
    const sample = this.queue[0][this.offset++];
    if (this.offset === this.queue[0].length) {
      this.queue.shift();
      this.offset = 0;
    }
    this.buffered--;
    this.played++;
    return sample;
  }

  process(_, [[out]]) {
    if (!this.playing && this.buffered && (this.ended || this.buffered >= AHEAD_S * sampleRate)) {
      this.playing = true;
    }
    const fade = 1 / (FADE_S * sampleRate);
    for (let n = 0; this.playing && n < out.length; n++) {
      if (!this.buffered) {
        this.playing = false; // starved, or at the end
        this.gain = 0;
        break;
      }
      const closing = this.buffered * fade; // reaches 0 with the last sample
      this.gain = Math.min(this.gain + fade, 1, closing);
      out[n] = this.next() * this.gain;
    }
    this.report(out.length);
    return true;
  }

  report(frames) {
    this.reported += frames;
    const over = this.ended && !this.buffered;
    if (this.reported < REPORT_S * sampleRate && !over) return;
    this.reported = 0;
    this.port.postMessage({
      type: over ? "finished" : "progress",
      playedMs: Math.floor((1000 * this.played) / sampleRate),
      playing: this.playing,
    });
    if (over) this.ended = false;
  }
}

registerProcessor("playback", Playback);
