// Windowed-sinc resampling of a stream, as on the server: Hann, 6 zero crossings, roll-off 0.99.

const WIDTH = 6;
const ROLLOFF = 0.99;

/** @param {number} a @param {number} b @returns {number} */
const gcd = (a, b) => (b ? gcd(b, a % b) : a);

export class Resampler {
  /** @param {number} fromHz @param {number} toHz */
  constructor(fromHz, toHz) {
    const common = gcd(fromHz, toHz);
    this.step = fromHz / common;
    this.phases = toHz / common;
    this.width = 0;
    this.length = 0;
    this.taps = new Float32Array(0);
    this.kept = new Float32Array(0);
    this.start = 0;
    this.received = 0;
    this.sent = 0;
    if (this.step === this.phases) return;
    const cutoff = Math.min(this.step, this.phases) * ROLLOFF;
    this.width = Math.ceil((WIDTH * this.step) / cutoff);
    this.length = 2 * this.width + 2;
    this.taps = new Float32Array(this.phases * this.length);
    for (let phase = 0; phase < this.phases; phase++) {
      const first = Math.floor((phase * this.step) / this.phases) - this.width;
      for (let i = 0; i < this.length; i++) {
        const at = ((first + i) / this.step - phase / this.phases) * cutoff;
        const t = Math.max(-WIDTH, Math.min(WIDTH, at));
        const window = Math.cos((t * Math.PI) / WIDTH / 2) ** 2;
        const sinc = t === 0 ? 1 : Math.sin(Math.PI * t) / (Math.PI * t);
        this.taps[phase * this.length + i] = (sinc * window * cutoff) / this.step;
      }
    }
    this.reset();
  }

  reset() {
    this.kept = new Float32Array(this.width);
    this.start = -this.width;
    this.received = 0;
    this.sent = 0;
  }

  /** @param {Float32Array} samples @returns {Float32Array} */
  push(samples) {
    if (this.step === this.phases) return samples;
    const joined = new Float32Array(this.kept.length + samples.length);
    joined.set(this.kept);
    joined.set(samples, this.kept.length);
    this.received += samples.length;
    const known = this.received - this.width - 1;
    return this.outputs(joined, Math.max(this.sent, Math.ceil((known * this.phases) / this.step)));
  }

  /** @returns {Float32Array} */
  flush() {
    if (this.step === this.phases) return new Float32Array(0);
    const padded = new Float32Array(this.kept.length + this.length);
    padded.set(this.kept);
    const out = this.outputs(padded, Math.ceil((this.received * this.phases) / this.step));
    this.reset();
    return out;
  }

  /** @param {Float32Array} input @param {number} until @returns {Float32Array} */
  outputs(input, until) {
    const out = new Float32Array(until - this.sent);
    for (let n = 0; n < out.length; n++) {
      const at = this.sent + n;
      const from = Math.floor((at * this.step) / this.phases) - this.width - this.start;
      const taps = (at % this.phases) * this.length;
      let sum = 0;
      for (let i = 0; i < this.length; i++) sum += input[from + i] * this.taps[taps + i];
      out[n] = sum;
    }
    this.sent = until;
    const forget = Math.floor((until * this.step) / this.phases) - this.width - this.start;
    this.kept = input.slice(Math.max(0, forget));
    this.start += Math.max(0, forget);
    return out;
  }
}
