// The second tab: text to speech with its picture and file, and voices added by their owners.

import { drawManner, Readings, told, traces } from "./manner.js";
import { $, ask, loadVoices } from "./page.js";
import { microphoneTrouble } from "./sound.js";
import { drawSpectrogram, drawWave } from "./spectrum.js";
import { AddedVoices } from "./voices.js";

/** @typedef {import("./sound.js").Sound} Sound */

const LEAST_S = 3; // of a recording, as the server has it
const MOST_S = 30;
const RIFF = 0x52494646;
const DATA = 0x64617461;

/** @param {string} id */
const value = (id) => /** @type {HTMLInputElement} */ ($(id)).value;

/** @param {"studio-status" | "voice-status"} id @param {string} text @param {boolean} [error] */
const say = (id, text, error = false) => {
  $(id).textContent = text;
  $(id).dataset.kind = error ? "error" : "";
};

/** @param {Int16Array[]} pieces */
const seconds = (pieces) => pieces.reduce((sum, piece) => sum + piece.length, 0) / 24000;

/** 24 kHz PCM16 as a wav file. @param {Int16Array[]} pieces @returns {Blob} */
export const wav = (pieces) => {
  const bytes = pieces.reduce((sum, piece) => sum + piece.byteLength, 0);
  const head = new DataView(new ArrayBuffer(44));
  const words = (/** @type {number} */ at, /** @type {string} */ text) => {
    for (let n = 0; n < text.length; n++) head.setUint8(at + n, text.charCodeAt(n));
  };
  words(0, "RIFF");
  head.setUint32(4, 36 + bytes, true);
  words(8, "WAVEfmt ");
  for (const [at, number] of [[16, 16], [24, 24000], [28, 48000], [40, bytes]]) head.setUint32(at, number, true);
  for (const [at, number] of [[20, 1], [22, 1], [32, 2], [34, 16]]) head.setUint16(at, number, true);
  words(36, "data");
  return new Blob([head, .../** @type {BlobPart[]} */ (pieces)], { type: "audio/wav" });
};

/**
 * A streamed wav file says nothing of its length, which players then do not know; this one does.
 * @param {Blob} file of any format @returns {Promise<Blob>}
 */
const sized = async (file) => {
  const head = new DataView(await file.slice(0, 44).arrayBuffer());
  if (head.byteLength < 44 || head.getUint32(0) !== RIFF || head.getUint32(36) !== DATA) return file;
  head.setUint32(4, file.size - 8, true);
  head.setUint32(40, file.size - 44, true);
  return new Blob([head, file.slice(44)], { type: file.type });
};

export class Studio {
  /** @param {Sound} sound @param {() => void} hush ends what the other tab does */
  constructor(sound, hush) {
    this.sound = sound;
    this.hush = hush;
    this.url = "";
    /** @type {Int16Array[] | null} of the recording under way */
    this.recording = null;
    /** @type {Blob | null} */
    this.sample = null;
    $("studio-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.speak().catch((error) => say("studio-status", error.message, true));
    });
    $("voice-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.addVoice().catch((error) => say("voice-status", error.message, true));
    });
    $("record").addEventListener("click", () => {
      this.record().catch((error) => say("voice-status", microphoneTrouble(error), true));
    });
    new AddedVoices(loadVoices);
    /** @type {AudioBuffer | null} what the pictures show */
    this.shown = null;
    this.readings = new Readings();
    new ResizeObserver(() => this.draw()).observe($("wave"));
    document.addEventListener("theme", () => this.draw());
    sound.on("pcm", (event) => this.hear(event));
    sound.on("end", () => this.recorded());
    sound.on("gone", () => this.recording && this.sound.stopRecording());
  }

  async speak() {
    const button = /** @type {HTMLButtonElement} */ ($("speak"));
    button.disabled = true;
    say("studio-status", "Speaking…");
    const begun = performance.now();
    // Others may be chosen before the answer is here.
    const [format, text, voice] = [value("studio-format"), value("studio-text"), value("studio-voice")];
    const [style, speed] = [value("studio-style"), Number(value("studio-speed"))];
    const manner = [style || "plain", ...(speed === 1 ? [] : [`${speed}×`]), voice].join(", ");
    try {
      const reply = await ask("/v1/audio/speech", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({
          input: text,
          voice,
          instructions: style || undefined,
          speed,
          response_format: format,
        }),
      });
      const file = await sized(await reply.blob());
      const seconds = (performance.now() - begun) / 1000;
      await this.present(file, format, seconds, text, manner);
    } finally {
      button.disabled = false;
    }
  }

  /** @param {Blob} file @param {string} format @param {number} tookS @param {string} text @param {string} manner */
  async present(file, format, tookS, text, manner) {
    if (this.url) URL.revokeObjectURL(this.url);
    this.url = URL.createObjectURL(file);
    const player = /** @type {HTMLAudioElement} */ ($("player"));
    player.src = this.url;
    const link = /** @type {HTMLAnchorElement} */ ($("download"));
    link.href = this.url;
    link.download = `speech.${format}`;
    const kb = Math.ceil(file.size / 1024);
    const cost = `in ${tookS.toFixed(1)} s, ${kb} KB`;
    const sound = await this.sound.decode(await file.arrayBuffer()).catch(() => null);
    this.shown = sound?.buffer ?? null;
    if (sound) this.readings.add(text, manner, traces(sound.buffer.getChannelData(0), sound.buffer.sampleRate));
    $("pictures").hidden = !sound;
    $("result").hidden = false;
    this.draw();
    if (sound) say("studio-status", `${sound.buffer.duration.toFixed(1)} s of speech ${cost}`);
    else say("studio-status", `Speech ${cost}. This browser does not play ${format}; the file is there to download.`);
    await player.play().catch(() => {}); // the browser wants another click first
  }

  /** In the width and the colours that the page has now. */
  draw() {
    if (!this.shown || !$("wave").clientWidth) return;
    const samples = this.shown.getChannelData(0);
    drawWave(/** @type {HTMLCanvasElement} */ ($("wave")), samples);
    drawSpectrogram(/** @type {HTMLCanvasElement} */ ($("spectrogram")), samples, this.shown.sampleRate);
    this.drawReadings();
  }

  /** The last reading over the one before of the same text, each in the colour of its words. */
  drawReadings() {
    const { kept } = this.readings;
    const words = kept.map((reading, at) => {
      const line = document.createElement("span");
      line.className = at === kept.length - 1 ? "last" : "before";
      line.textContent = told(reading);
      return line;
    });
    $("manner-words").replaceChildren(...words);
    const colours = words.map((line) => getComputedStyle(line).color);
    drawManner(/** @type {HTMLCanvasElement} */ ($("manner")), kept.map((one) => one.traces), colours);
  }

  async record() {
    if (this.recording) {
      this.sound.stopRecording(); // "end" follows its last samples
      return;
    }
    this.hush();
    await this.sound.microphone();
    this.recording = [];
    this.sound.record();
    say("voice-status", "Recording… read a few sentences, 5 to 15 seconds.");
    this.showRecording(true);
  }

  /** @param {{pcm: Int16Array, peak: number}} heard */
  hear({ pcm, peak }) {
    if (!this.recording) return;
    this.recording.push(pcm);
    $("record-time").textContent = `${seconds(this.recording).toFixed(1)} s`;
    /** @type {HTMLMeterElement} */ ($("record-level")).value = peak;
    if (seconds(this.recording) >= MOST_S) this.sound.stopRecording();
  }

  recorded() {
    if (!this.recording) return;
    const lasted = seconds(this.recording);
    this.sound.release();
    this.sample = wav(this.recording);
    this.recording = null;
    this.showRecording(false);
    const player = /** @type {HTMLAudioElement} */ ($("voice-player"));
    URL.revokeObjectURL(player.src);
    player.src = URL.createObjectURL(this.sample);
    player.hidden = false;
    /** @type {HTMLInputElement} */ ($("voice-file")).value = ""; // the last of the two counts
    const enough = lasted >= LEAST_S;
    const then = enough ? "Name the voice and add it." : `Too short: ${LEAST_S} s at least. Record again.`;
    say("voice-status", `Recorded ${lasted.toFixed(1)} s. ${then}`, !enough);
  }

  /** @param {boolean} on */
  showRecording(on) {
    $("record").setAttribute("aria-pressed", String(on));
    $("record-label").textContent = on ? "Stop" : "Record again";
    $("record-level").hidden = !on;
    $("voice-player").hidden = true;
    if (!on) $("record-time").textContent = "";
  }

  async addVoice() {
    const file = /** @type {HTMLInputElement} */ ($("voice-file")).files?.[0] ?? this.sample;
    if (!file) {
      say("voice-status", "Record something first, or choose a file.", true);
      return;
    }
    const form = new FormData();
    form.set("name", value("voice-name"));
    form.set("consent", value("voice-consent"));
    form.set("audio_sample", file, "sample.wav");
    const button = /** @type {HTMLButtonElement} */ ($("add-voice"));
    button.disabled = true;
    say("voice-status", "Adding the voice…");
    try {
      await this.send(form);
    } finally {
      button.disabled = false;
    }
  }

  /** @param {FormData} form */
  async send(form) {
    const added = await (await ask("/v1/audio/voices", { method: "POST", body: form })).json();
    await loadVoices();
    /** @type {HTMLSelectElement} */ ($("studio-voice")).value = added.id;
    const notes = added.notes?.length ? ` What was done: ${added.notes.join("; ")}.` : "";
    say("voice-status", `${added.name} was added, and is chosen for the text.${notes}`);
  }
}
