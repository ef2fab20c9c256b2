// Records what reaches it, by the clock of the audio graph; a busy page loses nothing. Also how late
// sound comes to the page's speakers, who live in the same scope and thread.

const begun = new Map(); // id of an answer: when its first sound came, and how long it is so far
let latestMs = 0; // behind the first sound of its answer

const register = registerProcessor;
globalThis.registerProcessor = (name, Kind) => {
  const Watched = class extends Kind {
    command(data) {
      if (data.type === "pcm") {
        const nowMs = 1000 * currentTime;
        const answer = begun.get(data.id) ?? { atMs: nowMs, soundMs: 0 };
        begun.set(data.id, answer);
        latestMs = Math.max(latestMs, nowMs - answer.atMs - answer.soundMs);
        answer.soundMs += data.pcm.length / 24;
      }
      super.command(data);
    }
  };
  register(name, name === "playback" ? Watched : Kind);
};

class Tap extends AudioWorkletProcessor {
  constructor() {
    super();
    this.piece = new Float32Array(2048);
    this.filled = 0;
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
