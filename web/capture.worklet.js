// Microphone -> 24 kHz PCM16 in pieces of 20 ms, and how loud it is.

import { Resampler } from "./resample.js";

const RATE_HZ = 24000;
const PIECE = RATE_HZ / 50;

class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.resampler = new Resampler(sampleRate, RATE_HZ);
    this.recording = false;
    this.muted = false;
    this.piece = new Int16Array(PIECE);
    this.filled = 0;
    this.peak = 0;
    this.port.onmessage = ({ data }) => this.command(data);
  }

  /** @param {{type: string, muted?: boolean}} data */
  command(data) {
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

  send() {
    if (!this.filled) return;
    const pcm = this.piece.slice(0, this.filled);
    this.port.postMessage({ type: "pcm", pcm, peak: this.peak }, [pcm.buffer]);
    this.filled = 0;
    this.peak = 0;
  }
}

registerProcessor("capture", Capture);
