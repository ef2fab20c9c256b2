// The second tab: text to speech with its picture and file, and voices added by their owners.

import { $, ask, loadVoices } from "./page.js";
import { drawSpectrogram, drawWave } from "./spectrum.js";

/** @typedef {import("./sound.js").Sound} Sound */

/** @param {string} id */
const value = (id) => /** @type {HTMLInputElement} */ ($(id)).value;

/** @param {string} text @param {boolean} [error] */
const say = (text, error = false) => {
  $("studio-status").textContent = text;
  $("studio-status").dataset.kind = error ? "error" : "";
};

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
      this.speak().catch((error) => say(error.message, true));
    });
    $("voice-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.addVoice().catch((error) => say(error.message, true));
    });
    $("record").addEventListener("click", () => this.record().catch((error) => say(error.message, true)));
    sound.on("pcm", ({ pcm }) => this.recording?.push(pcm));
  }

  async speak() {
    const button = /** @type {HTMLButtonElement} */ ($("speak"));
    button.disabled = true;
    say("Speaking…");
    const begun = performance.now();
    try {
      const reply = await ask("/v1/audio/speech", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({
          input: value("studio-text"),
          voice: value("studio-voice"),
          instructions: value("studio-style") || undefined,
          speed: Number(value("studio-speed")),
          response_format: value("studio-format"),
        }),
      });
      const file = await reply.blob();
      const seconds = (performance.now() - begun) / 1000;
      await this.present(file, seconds);
    } finally {
      button.disabled = false;
    }
  }

  /** @param {Blob} file @param {number} tookS */
  async present(file, tookS) {
    if (this.url) URL.revokeObjectURL(this.url);
    this.url = URL.createObjectURL(file);
    const player = /** @type {HTMLAudioElement} */ ($("player"));
    player.src = this.url;
    const link = /** @type {HTMLAnchorElement} */ ($("download"));
    link.href = this.url;
    link.download = `speech.${value("studio-format")}`;
    $("result").hidden = false;
    const { buffer } = await this.sound.decode(await file.arrayBuffer());
    const samples = buffer.getChannelData(0);
    drawWave(/** @type {HTMLCanvasElement} */ ($("wave")), samples);
    drawSpectrogram(/** @type {HTMLCanvasElement} */ ($("spectrogram")), samples, buffer.sampleRate);
    const kb = Math.ceil(file.size / 1024);
    say(`${buffer.duration.toFixed(1)} s of speech in ${tookS.toFixed(1)} s, ${kb} KB`);
    await player.play().catch(() => {}); // the browser wants another click first
  }

  async record() {
    if (this.recording) {
      this.sound.stopRecording();
      this.sound.release();
      this.sample = wav(this.recording);
      const seconds = this.recording.reduce((sum, piece) => sum + piece.length, 0) / 24000;
      this.recording = null;
      say(`Recorded ${seconds.toFixed(1)} s. Name the voice and add it.`);
    } else {
      this.hush();
      await this.sound.microphone();
      this.recording = [];
      this.sound.record();
      say("Recording… read a few sentences, 5 to 15 seconds.");
    }
    $("record").setAttribute("aria-pressed", String(Boolean(this.recording)));
    $("record").textContent = this.recording ? "Stop recording" : "Record";
  }

  async addVoice() {
    const file = /** @type {HTMLInputElement} */ ($("voice-file")).files?.[0] ?? this.sample;
    if (!file) {
      say("Record something first, or choose a file.", true);
      return;
    }
    const form = new FormData();
    form.set("name", value("voice-name"));
    form.set("consent", value("voice-consent"));
    form.set("audio_sample", file, "sample.wav");
    say("Adding the voice…");
    const added = await (await ask("/v1/audio/voices", { method: "POST", body: form })).json();
    await loadVoices();
    /** @type {HTMLSelectElement} */ ($("studio-voice")).value = added.id;
    say(`${added.name} was added.`);
  }
}
