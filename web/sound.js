// One AudioContext, the microphone, and the two worklets.

export class Sound extends EventTarget {
  constructor() {
    super();
    this.context = null;
    this.capture = null;
    this.playback = null;
    this.muted = false;
  }

  // Must be called from a click: browsers keep sound off before.
  async ready() {
    if (!this.context) {
      this.context = new AudioContext({ latencyHint: "interactive" });
      this.loading = this.load();
    }
    await this.context.resume();
    await this.loading;
  }

  async load() {
    await this.context.audioWorklet.addModule("playback.worklet.js");
    this.playback = new AudioWorkletNode(this.context, "playback", {
      numberOfInputs: 0, outputChannelCount: [1],
    });
    this.playback.port.onmessage = ({ data }) => this.tell(data);
    this.playback.connect(this.context.destination);
  }

  async microphone() {
    await this.ready();
    if (this.capture) return;
    const stream = await navigator.mediaDevices.getUserMedia({
      audio: { channelCount: 1, echoCancellation: true, noiseSuppression: true, autoGainControl: true },
    });
    await this.context.audioWorklet.addModule("capture.worklet.js");
    this.capture = new AudioWorkletNode(this.context, "capture", { numberOfOutputs: 0 });
    this.capture.port.onmessage = ({ data }) => this.tell(data);
    this.context.createMediaStreamSource(stream).connect(this.capture);
    this.mute(this.muted);
  }

  tell(data) {
    this.dispatchEvent(new CustomEvent(data.type, { detail: data }));
  }

  mute(muted) {
    this.muted = muted;
    this.capture?.port.postMessage({ type: "mute", muted });
  }

  record() {
    this.capture.port.postMessage({ type: "start" });
  }

  // The samples still under way follow; then "end".
  stopRecording() {
    this.capture?.port.postMessage({ type: "stop" });
  }

  play(pcm) {
    this.playback?.port.postMessage({ type: "pcm", pcm }, [pcm.buffer]);
  }

  finish() {
    this.playback?.port.postMessage({ type: "end" });
  }

  silence() {
    this.playback?.port.postMessage({ type: "clear" });
  }
}
