// How something was said: pitch and level over time, and two readings of one text in one picture.

const STEP_S = 0.01;
const WINDOW_S = 0.04;
const RATE = 8000; // about; pitch needs no more
const [LOWEST_HZ, HIGHEST_HZ] = [60, 500];
const ALIKE = 0.55; // of a period and the next where something is voiced
const RANGE_DB = 40;
const NEAR_OCTAVES = 0.15; // from one value to those within 20 ms of it

/**
 * @typedef {object} Traces one value every 10 ms
 * @property {Float32Array} hz 0 where nothing is voiced
 * @property {Float32Array} db of full scale
 */

/**
 * @typedef {object} Reading
 * @property {string} text without its tags
 * @property {string} name of the manner
 * @property {Traces} traces
 */

/** @param {Float32Array} samples @param {number} by whole factor @returns {Float32Array} means of so many */
const coarser = (samples, by) => {
  const out = new Float32Array(Math.floor(samples.length / by));
  for (let n = 0; n < out.length; n++) {
    for (let k = 0; k < by; k++) out[n] += samples[n * by + k] / by;
  }
  return out;
};

/**
 * The shortest lag at which a window is nearly as like itself as at any.
 * @param {Float32Array} wave @param {number} from @param {number} rate @returns {number} Hz, or 0
 */
const pitchAt = (wave, from, rate) => {
  const size = Math.round(WINDOW_S * rate);
  const [least, most] = [Math.floor(rate / HIGHEST_HZ), Math.ceil(rate / LOWEST_HZ)];
  if (from + size + most >= wave.length) return 0;
  let power = 1e-9;
  for (let n = from; n < from + size; n++) power += wave[n] ** 2;
  const found = new Float32Array(most + 2);
  let moved = 1e-9;
  for (let n = from + least; n < from + least + size; n++) moved += wave[n] ** 2;
  for (let lag = least; lag <= most; lag++) {
    let product = 0;
    for (let n = from; n < from + size; n++) product += wave[n] * wave[n + lag];
    found[lag] = product / Math.sqrt(power * moved);
    moved += wave[from + lag + size] ** 2 - wave[from + lag] ** 2;
  }
  const best = found.reduce((a, b) => Math.max(a, b), 0);
  if (best < ALIKE) return 0;
  for (let lag = least + 1; lag < most; lag++) {
    const [before, here, after] = [found[lag - 1], found[lag], found[lag + 1]];
    if (here < 0.9 * best || here < before || here < after) continue;
    const bend = before - 2 * here + after;
    return rate / (lag + (bend ? (before - after) / (2 * bend) : 0)); // the top of the parabola
  }
  return 0;
};

/** @param {Float32Array} samples @param {number} rate @returns {Traces} */
export const traces = (samples, rate) => {
  const step = Math.round(rate * STEP_S);
  const count = Math.floor(samples.length / step);
  const db = new Float32Array(count);
  for (let at = 0; at < count; at++) {
    let power = 1e-10;
    for (let n = at * step; n < (at + 1) * step; n++) power += samples[n] ** 2 / step;
    db[at] = 10 * Math.log10(power);
  }
  const floor = db.reduce((a, b) => Math.max(a, b), -100) - RANGE_DB;
  const by = Math.max(1, Math.floor(rate / RATE));
  const wave = coarser(samples, by);
  const hz = db.map((level, at) => (level < floor ? 0 : pitchAt(wave, Math.round((at * step) / by), rate / by)));
  return { hz: steady(hz), db };
};

/** Leave out what no neighbour is near: octave errors and the ends of voices. @param {Float32Array} hz */
const steady = (hz) => hz.map((one, at) => {
  const near = [-2, -1, 1, 2].filter((by) => Math.abs(Math.log2((hz[at + by] || 1) / one)) < NEAR_OCTAVES);
  return near.length < 2 ? 0 : one;
});

/**
 * Mean pitch (of its logarithm), its deviation, level of what is not silent, and length.
 * @param {Traces} traces
 */
export const facts = ({ hz, db }) => {
  const semitones = [...hz].filter((one) => one).map((one) => 12 * Math.log2(one));
  const mean = semitones.reduce((a, b) => a + b, 0) / semitones.length;
  const span = Math.sqrt(semitones.reduce((a, b) => a + (b - mean) ** 2, 0) / semitones.length);
  const loud = db.reduce((a, b) => Math.max(a, b), -100) - RANGE_DB;
  const powers = [...db].filter((one) => one > loud).map((one) => 10 ** (one / 10));
  const level = 10 * Math.log10(powers.reduce((a, b) => a + b, 0) / powers.length);
  return { hz: 2 ** (mean / 12), semitones: span, db: level, seconds: db.length * STEP_S };
};

/** @param {Reading} reading in words */
export const told = ({ name, traces: of }) => {
  const { hz, semitones, db, seconds } = facts(of);
  const pitch = Number.isNaN(hz) ? "nothing voiced" : `${hz.toFixed(0)} Hz ± ${semitones.toFixed(1)} semitones`;
  return `${name}: ${pitch}, ${db.toFixed(1)} dB, ${seconds.toFixed(1)} s`;
};

/** The last two readings of one text. */
export class Readings {
  constructor() {
    /** @type {Reading[]} the older one first */
    this.kept = [];
  }

  /** @param {string} text with its tags @param {string} style @param {Traces} of */
  add(text, style, of) {
    const tags = /^\s*(?:[(（][^)）]*[)）]\s*)*/u.exec(text)?.[0] ?? "";
    const reading = { text: text.slice(tags.length).trim(), name: `${tags.trim()} ${style}`.trim(), traces: of };
    const others = this.kept.filter(({ text: words, name }) => words === reading.text && name !== reading.name);
    this.kept = [...others.slice(-1), reading];
  }
}

/**
 * Pitch above on a logarithmic axis, level below; both readings from their first sample on.
 * @param {HTMLCanvasElement} canvas @param {Traces[]} all @param {string[]} colours of each
 */
export const drawManner = (canvas, all, colours) => {
  const scale = window.devicePixelRatio || 1;
  canvas.width = canvas.clientWidth * scale;
  canvas.height = canvas.clientHeight * scale;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const { width, height } = canvas;
  const steps = Math.max(...all.map(({ db }) => db.length));
  const pitches = all.flatMap(({ hz }) => [...hz].filter((one) => one)).map(Math.log2).sort((a, b) => a - b);
  const [low, high] = [(pitches[0] ?? 6) - 0.05, (pitches.at(-1) ?? 8) + 0.05];
  const loudest = Math.max(...all.flatMap(({ db }) => [...db]));
  const middle = height * 0.6;
  context.lineWidth = 2 * scale;
  context.lineJoin = "round";
  all.forEach(({ hz, db }, which) => {
    context.strokeStyle = colours[which];
    /** @param {ArrayLike<number>} values @param {(value: number) => number | null} place */
    const line = (values, place) => {
      context.beginPath();
      let drawing = false;
      for (let at = 0; at < values.length; at++) {
        const y = place(values[at]);
        const x = (at * width) / steps;
        if (y !== null) drawing ? context.lineTo(x, y) : context.moveTo(x, y);
        drawing = y !== null;
      }
      context.stroke();
    };
    context.globalAlpha = 1;
    line(hz, (one) => (one ? middle * (0.95 - (0.9 * (Math.log2(one) - low)) / (high - low)) : null));
    context.globalAlpha = 0.7;
    line(db, (one) => height - (height - middle) * 0.95 * Math.max(0, 1 - (loudest - one) / RANGE_DB));
  });
};
