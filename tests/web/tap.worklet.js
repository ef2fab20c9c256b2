// Records what reaches it, by the clock of the audio graph; a busy page loses nothing.

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
      this.port.postMessage({ at: this.at, pcm: this.piece });
      this.filled = 0;
    }
    return true;
  }
}

registerProcessor("tap", Tap);
