// Records what reaches it, by the clock of the audio graph; a busy page loses nothing. When the tap
// is told `jitterMs`, it also stands for a network in front of the page's speakers, who live in the
// same scope and thread: sound reaches them at its own pace, each piece up to so many ms late. By
// the clock of the graph, too, so that a busy machine adds no lateness of its own and hides none.

const HEAD_S = 2; // the page has the sound by then, however busy the machine is
let jitterMs = 0; // nothing stands between
let latestMs = 0; // how late a piece was at most
let seed = 7;
const chance = () => (seed = (seed * 48271) % 2147483647) / 2147483647;

const register = registerProcessor;
globalThis.registerProcessor = (name, Kind) => {
  const Late = class extends Kind {
    line = []; // what is under way
    begun = new Map(); // id of an answer: when its next sound should come

    command(data) {
      if (!jitterMs || (data.type !== "pcm" && data.type !== "end")) {
        super.command(data);
        return;
      }
      const onTime = this.begun.get(data.id) ?? currentTime + HEAD_S;
      this.begun.set(data.id, onTime + (data.pcm?.length ?? 0) / 24000);
      this.line.push({ onTime, due: onTime + (jitterMs * chance()) / 1000, data });
    }

    process(...given) {
      while (this.line[0]?.due <= currentTime) {
        const { onTime, data } = this.line.shift();
        latestMs = Math.max(latestMs, 1000 * (currentTime - onTime));
        super.command(data);
      }
      return super.process(...given);
    }
  };
  register(name, name === "playback" ? Late : Kind);
};

class Tap extends AudioWorkletProcessor {
  constructor() {
    super();
    this.piece = new Float32Array(2048);
    this.filled = 0;
    this.port.onmessage = ({ data }) => ({ jitterMs } = data);
  }

  process([[heard]]) {
    const quantum = heard ?? new Float32Array(128); // nothing is connected: silence
    if (!this.filled) this.at = currentTime;
    this.piece.set(quantum, this.filled);
    this.filled += quantum.length;
    if (this.filled === this.piece.length) {
      this.port.postMessage({ at: this.at, pcm: this.piece, latestMs });
      this.filled = 0;
    }
    return true;
  }
}

register("tap", Tap);
