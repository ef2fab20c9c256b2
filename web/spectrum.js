// Pictures of a sound: its wave and its spectrogram.

const WINDOW = 512;

/**
 * Magnitudes of a windowed slice, by a radix-2 transform in place.
 * @param {Float32Array} samples @param {number} from @returns {Float32Array} WINDOW / 2 of them
 */
export const magnitudes = (samples, from) => {
  const re = new Float32Array(WINDOW);
  const im = new Float32Array(WINDOW);
  for (let n = 0; n < WINDOW; n++) {
    const hann = 0.5 - 0.5 * Math.cos((2 * Math.PI * n) / WINDOW);
    let reversed = 0;
    for (let bit = 1, left = n; bit < WINDOW; bit *= 2, left >>= 1) reversed = reversed * 2 + (left & 1);
    re[reversed] = (samples[from + n] ?? 0) * hann;
  }
  for (let size = 2; size <= WINDOW; size *= 2) {
    const half = size / 2;
    for (let k = 0; k < half; k++) {
      const angle = (-2 * Math.PI * k) / size;
      const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
      for (let at = k; at < WINDOW; at += size) {
        const [r, i] = [re[at + half], im[at + half]];
        const [tr, ti] = [r * cos - i * sin, r * sin + i * cos];
        [re[at + half], im[at + half]] = [re[at] - tr, im[at] - ti];
        [re[at], im[at]] = [re[at] + tr, im[at] + ti];
      }
    }
  }
  return Float32Array.from({ length: WINDOW / 2 }, (_, n) => Math.hypot(re[n], im[n]));
};

/** @param {HTMLCanvasElement} canvas @returns {[CanvasRenderingContext2D, number, number]} */
const blank = (canvas) => {
  const scale = window.devicePixelRatio || 1;
  canvas.width = canvas.clientWidth * scale;
  canvas.height = canvas.clientHeight * scale;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  return [context, canvas.width, canvas.height];
};

/** @param {HTMLCanvasElement} canvas @param {Float32Array} samples */
export const drawWave = (canvas, samples) => {
  const [context, width, height] = blank(canvas);
  context.fillStyle = getComputedStyle(canvas).color;
  for (let x = 0; x < width; x++) {
    const from = Math.floor((x * samples.length) / width);
    const to = Math.max(from + 1, Math.floor(((x + 1) * samples.length) / width));
    let peak = 0;
    for (let n = from; n < to; n++) peak = Math.max(peak, Math.abs(samples[n]));
    const tall = Math.max(1, peak * height);
    context.fillRect(x, (height - tall) / 2, 1, tall);
  }
};

/** Up to 8 kHz, 70 dB of range. @param {HTMLCanvasElement} canvas @param {Float32Array} samples @param {number} rate */
export const drawSpectrogram = (canvas, samples, rate) => {
  const [context, width, height] = blank(canvas);
  const image = context.createImageData(width, height);
  const bins = Math.min(WINDOW / 2, Math.round((8000 / rate) * WINDOW));
  for (let x = 0; x < width; x++) {
    const from = Math.floor((x * Math.max(0, samples.length - WINDOW)) / width);
    const found = magnitudes(samples, from);
    for (let y = 0; y < height; y++) {
      const bin = Math.floor(((height - 1 - y) * bins) / height);
      const heat = Math.max(0, Math.min(1, (20 * Math.log10(found[bin] + 1e-6) + 40) / 70));
      const at = 4 * (y * width + x);
      // From the dark behind it through violet and red to pale yellow.
      image.data[at] = 14 + 241 * Math.min(1, heat * 1.5);
      image.data[at + 1] = 16 + 230 * heat ** 2.2;
      image.data[at + 2] = 23 + 150 * Math.sin(Math.PI * heat) * (1 - heat) + 150 * heat ** 5;
      image.data[at + 3] = 255;
    }
  }
  context.putImageData(image, 0, 0);
};
