// One AudioContext, the microphone, and the two worklets.

import { PlainSpeakers } from "./plain.js";

/** Why there is no microphone, in words for the person in front of it. @param {unknown} error */
export const microphoneTrouble = (error) => {
  if (!window.isSecureContext) {
    return "Browsers allow the microphone only on localhost or over HTTPS. Start the server with " +
      "“step-audio serve --tls” and open the https:// address. Typing and the samples work here too.";
  }
  const name = error instanceof Error ? error.name : "";
  const known = {
    NotAllowedError: "The microphone is not allowed. Click the lock or microphone symbol beside " +
      "the address, allow it, and press Start again.",
    NotFoundError: "No microphone was found. Plug one in, or use the sample questions and typing.",
    NotReadableError: "The microphone is busy: another program holds it. Close that and try again.",
    OverconstrainedError: "The chosen microphone is gone. Choose another one in the settings.",
  }[name];
  return known ?? `No microphone: ${error instanceof Error ? error.message : String(error)}`;
};

/**
 * Fires what the worklets tell, by its type, with the message as `detail`: "pcm", "voice", "end" of
 * the microphone; "progress", "finished", "flushed", "held" of the speakers. And "opened", "gone": of
 * a microphone that went away by itself.
 */
export class Sound extends EventTarget {
  constructor() {
    super();
    /** @type {AudioContext | null} */
    this.context = null;
    /** @type {Promise<void> | null} */
    this.loading = null;
    /** @type {AudioWorkletNode | null} */
    this.capture = null;
    /** @type {MessagePort | PlainSpeakers | null} */
    this.speakers = null;
    /** @type {MediaStream | null} */
    this.stream = null;
    /** @type {MediaStreamAudioSourceNode | null} */
    this.source = null;
    /** @type {Promise<void> | null} while the browser asks the person */
    this.opening = null;
    this.releases = 0;
    this.muted = false;
    this.held = false; // the speakers wait, since somebody seems to speak
    this.deviceId = "";
  }

  /** @param {string} type @param {(data: any) => void} handle */
  on(type, handle) {
    this.addEventListener(type, (event) => handle(/** @type {CustomEvent} */ (event).detail));
  }

  /** Must be called from a click or a key: browsers keep sound off before. */
  async ready() {
    const context = (this.context ??= new AudioContext({ latencyHint: "interactive" }));
    this.loading ??= this.load(context);
    try {
      await Promise.all([context.resume(), this.loading]);
    } catch (error) {
      if (this.context === context) {
        this.context = this.loading = null; // the next click tries again
        context.close();
      }
      throw error;
    }
  }

  /** @param {AudioContext} context */
  async load(context) {
    if (!context.audioWorklet) {
      this.speakers = new PlainSpeakers(context, (data) => this.tell(data));
      return;
    }
    await Promise.all([
      context.audioWorklet.addModule("playback.worklet.js"),
      context.audioWorklet.addModule("capture.worklet.js"),
    ]);
    const playback = new AudioWorkletNode(context, "playback", {
      numberOfInputs: 0, outputChannelCount: [1],
    });
    playback.port.onmessage = ({ data }) => this.tell(data);
    playback.connect(context.destination);
    this.speakers = playback.port;
    this.capture = new AudioWorkletNode(context, "capture", { numberOfOutputs: 0 });
    this.capture.port.onmessage = ({ data }) => this.tell(data);
    // Who speaks up is obeyed by the speakers in the audio thread, however busy the page is.
    const { port1, port2 } = new MessageChannel();
    this.capture.port.postMessage({ type: "speakers", port: port1 }, [port1]);
    playback.port.postMessage({ type: "microphone", port: port2 }, [port2]);
  }

  /**
   * Open the microphone, once however often it is asked for. Throws what `getUserMedia` throws, and
   * an AbortError if it was given back before it was open.
   * @returns {Promise<void>}
   */
  microphone() {
    const opening = (this.opening ??= this.open());
    const over = () => {
      if (this.opening === opening) this.opening = null;
    };
    opening.then(over, over);
    return opening;
  }

  async open() {
    const { releases } = this;
    await this.ready();
    if (this.stream || !this.context) return;
    if (!navigator.mediaDevices || !this.capture) throw new Error("this page may not use it");
    const stream = await navigator.mediaDevices.getUserMedia({
      audio: {
        channelCount: 1,
        echoCancellation: true,
        noiseSuppression: true,
        autoGainControl: true,
        ...(this.deviceId && { deviceId: { exact: this.deviceId } }),
      },
    });
    if (releases !== this.releases) {
      for (const track of stream.getTracks()) track.stop();
      throw new DOMException("given back before it was open", "AbortError");
    }
    this.stream = stream;
    this.source = this.context.createMediaStreamSource(stream);
    this.source.connect(this.capture);
    this.mute(this.muted);
    stream.getAudioTracks()[0].onended = () => stream === this.stream && this.gone();
    this.tell({ type: "opened" });
  }

  /** It was unplugged, or the person took it away from this page. */
  gone() {
    this.release();
    this.tell({ type: "gone" });
  }

  /** Give the microphone back: the browser's red dot goes out. */
  release() {
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.source?.disconnect();
    this.stream = this.source = this.opening = null;
    this.releases += 1;
  }

  /** @param {any} data */
  tell(data) {
    if (data.type === "held") this.held = true;
    this.dispatchEvent(new CustomEvent(data.type, { detail: data }));
  }

  /** @param {boolean} muted */
  mute(muted) {
    this.muted = muted;
    this.capture?.port.postMessage({ type: "mute", muted });
  }

  record() {
    this.capture?.port.postMessage({ type: "start" });
  }

  /** The samples still under way follow; then "end". */
  stopRecording() {
    this.capture?.port.postMessage({ type: "stop" });
  }

  /** @param {string} id of the item that it belongs to @param {Int16Array} pcm 24 kHz */
  play(id, pcm) {
    this.speakers?.postMessage({ type: "pcm", id, pcm }, [pcm.buffer]);
  }

  /** @param {string} id no more sound of it comes */
  finish(id) {
    this.speakers?.postMessage({ type: "end", id });
  }

  /** Play what waits since the speakers held their breath: it was no speech. */
  goOn() {
    this.speakers?.postMessage({ type: "hold", on: false });
    if (this.held) this.trust(false);
  }

  /** The last voice was speech after all, or only a noise. @param {boolean} speech */
  trust(speech) {
    this.held = false;
    this.capture?.port.postMessage({ type: "trust", speech });
  }

  /** Silence now; "flushed" tells what was heard of each item. */
  flush() {
    this.speakers?.postMessage({ type: "clear" });
  }

  /**
   * Decode a file to 24 kHz mono.
   * @param {ArrayBuffer} file
   * @returns {Promise<{pcm: Int16Array, buffer: AudioBuffer}>}
   */
  async decode(file) {
    await this.ready();
    const context = /** @type {AudioContext} */ (this.context);
    const buffer = await context.decodeAudioData(file);
    const offline = new OfflineAudioContext(1, Math.ceil(buffer.duration * 24000), 24000);
    const source = new AudioBufferSourceNode(offline, { buffer });
    source.connect(offline.destination);
    source.start();
    const mono = (await offline.startRendering()).getChannelData(0);
    const pcm = Int16Array.from(mono, (s) => Math.max(-32768, Math.min(32767, s * 32768)));
    return { pcm, buffer };
  }

  /**
   * Play a decoded file; resolves at its end, or when it is told to stop.
   * @param {AudioBuffer} buffer @param {AbortSignal} signal @returns {Promise<void>}
   */
  playFile(buffer, signal) {
    const context = /** @type {AudioContext} */ (this.context);
    const source = new AudioBufferSourceNode(context, { buffer });
    source.connect(context.destination);
    source.start();
    signal.addEventListener("abort", () => source.stop());
    return new Promise((done) => {
      source.onended = () => done();
    });
  }
}
