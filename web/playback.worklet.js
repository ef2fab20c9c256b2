// 24 kHz PCM16 -> speakers: an adaptive wait, fades at the edges, and an exact count of what was
// heard of each item. Commands: pcm {id, pcm}, end {id}, clear, hold {on}, microphone {port}: any
// message from there is a voice, and what plays holds its breath. Answers: progress, finished,
// flushed {heard}, held.

import { JitterBuffer } from "./jitter.js";
import { Resampler } from "./resample.js";

const RATE_HZ = 24000;
const FADE_S = 0.004;
const REPORT_S = 0.04;

/**
 * One answer's sound.
 * @typedef {object} Track
 * @property {string} id
 * @property {Float32Array[]} queue
 * @property {Resampler} resampler
 * @property {number} offset into the first piece
 * @property {number} buffered samples
 * @property {number} longest piece, in samples
 * @property {number} waited for how many samples its first one has been there
 * @property {number} dry for how many samples it has had none; 0 while it has some
 * @property {number} received samples
 * @property {number} age samples since the first one came
 * @property {number} lead how far what was received was ahead of its age, at least
 * @property {number} played samples
 * @property {boolean} ended nothing follows
 */

class Playback extends AudioWorkletProcessor {
  constructor() {
    super();
    this.jitter = new JitterBuffer();
    /** @type {Track[]} */
    this.tracks = [];
    this.playing = false;
    this.gain = 0;
    this.hold = false; // fade out and wait, losing nothing
    this.peak = 0;
    this.reported = 0;
    /** @type {Float32Array} what fades out after a flush */
    this.tail = new Float32Array(0);
    this.port.onmessage = ({ data }) => this.command(data);
  }

  /** @param {{type: string, id?: string, pcm?: Int16Array, on?: boolean, port?: MessagePort}} data */
  command({ type, id = "", pcm, on, port }) {
    if (type === "clear") this.clear();
    if (type === "hold") this.hold = Boolean(on);
    if (type === "microphone" && port) port.onmessage = () => this.listen();
    if (type === "pcm" && pcm) {
      const track = this.track(id);
      this.add(track, track.resampler.push(Float32Array.from(pcm, (s) => s / 32768)));
    }
    if (type === "end") {
      const track = this.track(id);
      track.dry = 0; // all of it was played: no gap
      if (Number.isFinite(track.lead)) this.jitter.learn(this.ms(track.lead));
      this.add(track, track.resampler.flush());
      track.ended = true;
    }
  }

  /** Somebody seems to speak. */
  listen() {
    if (!this.playing || this.hold) return;
    this.hold = true;
    this.port.postMessage({ type: "held" });
  }

  /** @param {string} id @returns {Track} */
  track(id) {
    const known = this.tracks.find((track) => track.id === id);
    if (known) return known;
    const resampler = new Resampler(RATE_HZ, sampleRate);
    /** @type {Track} */
    const made = {
      id, queue: [], resampler, offset: 0, buffered: 0, longest: 0, waited: 0, dry: 0,
      received: 0, age: 0, lead: Infinity, played: 0, ended: false,
    };
    this.tracks.push(made);
    return made;
  }

  /** Silence at once, but for a fade of 4 ms, and say how much of each item was heard. */
  clear() {
    const heard = this.tracks.map(({ id, played }) => ({ id, playedMs: this.ms(played) }));
    const current = this.tracks[0];
    const fade = Math.min(current?.buffered ?? 0, Math.round(FADE_S * sampleRate));
    const tail = new Float32Array(this.playing ? fade : 0);
    for (let n = 0; n < tail.length; n++) {
      tail[n] = this.next(current) * this.gain * (1 - (n + 1) / tail.length);
    }
    this.tail = tail;
    this.tracks = [];
    this.playing = false;
    this.hold = false;
    this.gain = 0;
    this.port.postMessage({ type: "flushed", heard });
  }

  /** @param {number} samples @returns {number} */
  ms(samples) {
    return Math.floor((1000 * samples) / sampleRate);
  }

  /** @param {Track} track @param {Float32Array} samples */
  add(track, samples) {
    if (!samples.length) return;
    if (track.received) track.lead = Math.min(track.lead, track.received - track.age);
    track.received += samples.length;
    if (track.dry) this.jitter.starved(this.ms(track.dry));
    track.dry = 0;
    track.queue.push(samples);
    track.buffered += samples.length;
    track.longest = Math.max(track.longest, samples.length);
  }

  /** @param {Track} track @returns {boolean} */
  mayStart(track) {
    return this.jitter.mayStart({
      waitedMs: this.ms(track.waited),
      bufferedMs: this.ms(track.buffered),
      longestMs: this.ms(track.longest),
      complete: track.ended,
    });
  }

  /** @param {Track} track @returns {number} */
  next(track) {
    const sample = track.queue[0][track.offset++];
    if (track.offset === track.queue[0].length) {
      track.queue.shift();
      track.offset = 0;
    }
    track.buffered--;
    track.played++;
    return sample;
  }

  /**
   * @param {Float32Array[][]} _
   * @param {Float32Array[][]} outputs
   */
  process(_, [[out]]) {
    const fade = 1 / (FADE_S * sampleRate);
    let at = 0;
    if (this.tail.length) {
      at = Math.min(out.length, this.tail.length);
      out.set(this.tail.subarray(0, at));
      this.tail = this.tail.subarray(at);
    }
    const track = this.tracks[0];
    if (track) {
      if (!this.playing && !this.hold) this.playing = this.mayStart(track);
      const before = track.played;
      for (; this.playing && at < out.length && track.buffered; at++) {
        if (this.hold && this.gain <= fade) {
          this.playing = false;
          this.gain = 0;
          break;
        }
        const closing = track.buffered * fade; // reaches 0 with the last sample
        this.gain = Math.min(this.gain + (this.hold ? -fade : fade), 1, closing);
        out[at] = this.next(track) * this.gain;
        this.peak = Math.max(this.peak, Math.abs(out[at]));
      }
      this.jitter.played(this.ms(track.played - before));
      if (!track.buffered) this.dry(track);
    }
    this.wait(out.length);
    this.report(out.length);
    return true;
  }

  /** @param {Track} track nothing of it is left to play */
  dry(track) {
    if (this.playing) track.dry = 1;
    this.playing = false;
    this.gain = 0;
    track.waited = 0;
    if (!track.ended) return;
    this.tracks.shift();
    const { id, played } = track;
    this.port.postMessage({ type: "finished", id, playedMs: this.ms(played) });
  }

  /** @param {number} frames that went by */
  wait(frames) {
    for (const track of this.tracks) {
      if (track.received) track.age += frames;
      if (track.buffered) track.waited += frames;
      else if (track.dry) track.dry += frames;
    }
  }

  /** @param {number} frames */
  report(frames) {
    this.reported += frames;
    if (this.reported < REPORT_S * sampleRate) return;
    this.reported = 0;
    const track = this.tracks[0];
    this.port.postMessage({
      type: "progress",
      id: track?.id,
      playedMs: track ? this.ms(track.played) : 0,
      bufferedMs: track ? this.ms(track.buffered) : 0,
      playing: this.playing,
      peak: this.peak,
      targetMs: this.jitter.targetMs,
      gaps: this.jitter.gaps,
    });
    this.peak = 0;
  }
}

registerProcessor("playback", Playback);
