// Speakers without a worklet: browsers have worklets only on localhost and over HTTPS. Takes and
// tells what the playback worklet does, less exactly; nothing to hold, as there is no microphone.

const LEAD_S = 0.12;
const REPORT_MS = 50;

/**
 * One answer's sound.
 * @typedef {{id: string, sources: {source: AudioBufferSourceNode, at: number, s: number}[], ended: boolean}} Track
 */

export class PlainSpeakers {
  /** @param {AudioContext} context @param {(data: any) => void} tell */
  constructor(context, tell) {
    this.context = context;
    this.tell = tell;
    /** @type {Track[]} */
    this.tracks = [];
    this.until = 0; // all that came is played by then
    this.gaps = 0;
    setInterval(() => this.report(), REPORT_MS);
  }

  /** @param {{type: string, id?: string, pcm?: Int16Array, on?: boolean}} data @param {any[]} [_] */
  postMessage({ type, id = "", pcm }, _) {
    if (type === "pcm" && pcm?.length) this.add(this.track(id), pcm);
    if (type === "end") this.track(id).ended = true;
    if (type === "clear") this.clear();
  }

  /** @param {string} id @returns {Track} */
  track(id) {
    const known = this.tracks.find((track) => track.id === id);
    if (known) return known;
    const made = { id, sources: [], ended: false };
    this.tracks.push(made);
    return made;
  }

  /** @param {Track} track @param {Int16Array} pcm 24 kHz */
  add(track, pcm) {
    const buffer = new AudioBuffer({ length: pcm.length, sampleRate: 24000 });
    buffer.copyToChannel(Float32Array.from(pcm, (s) => s / 32768), 0);
    const source = new AudioBufferSourceNode(this.context, { buffer });
    source.connect(this.context.destination);
    const now = this.context.currentTime;
    if (now > this.until) {
      this.gaps += track.sources.length ? 1 : 0;
      this.until = now + LEAD_S;
    }
    source.start(this.until);
    track.sources.push({ source, at: this.until, s: buffer.duration });
    this.until += buffer.duration;
  }

  /** @param {Track} track */
  playedMs({ sources }) {
    const now = this.context.currentTime;
    const heard = sources.reduce((sum, { at, s }) => sum + Math.max(0, Math.min(s, now - at)), 0);
    return Math.floor(1000 * heard);
  }

  clear() {
    const heard = this.tracks.map((track) => ({ id: track.id, playedMs: this.playedMs(track) }));
    for (const { sources } of this.tracks) for (const { source } of sources) source.stop();
    this.tracks = [];
    this.until = 0;
    this.tell({ type: "flushed", heard });
  }

  report() {
    const [track] = this.tracks;
    if (!track) return;
    const playedMs = this.playedMs(track);
    const facts = { id: track.id, playedMs, playing: playedMs > 0, peak: 0.3 };
    this.tell({ type: "progress", ...facts, targetMs: 1000 * LEAD_S, gaps: this.gaps });
    const last = track.sources.at(-1);
    if (!track.ended || (last && this.context.currentTime < last.at + last.s)) return;
    this.tracks.shift();
    this.tell({ type: "progress", ...facts, peak: 0, targetMs: 1000 * LEAD_S, gaps: this.gaps });
    this.tell({ type: "finished", id: track.id, playedMs });
  }
}
