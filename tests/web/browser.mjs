// A page that is listened to where its sound leaves it, and what a person does with it.

import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

const { OUT } = process.env;

// Runs in the page before its own scripts. What is heard is kept in `heard`, by the clock of the
// page's own audio graph: a busy machine delays both ends of what is measured alike. The worklet
// that listens comes from the server, beside the page's own, since the page allows no other.
const listen = () => {
  window.statuses = []; // all that the status line ever said
  addEventListener("DOMContentLoaded", () => {
    const line = document.getElementById("status");
    if (!line) return; // another page of the server
    new MutationObserver(() => window.statuses.push(line.textContent)).observe(line, { childList: true });
  });
  const heard = { pieces: [], at: 0, rate: 0, loudS: 0, now: 0, jitterMs: 0, latestMs: 0 };
  window.heard = heard;
  if (!isSecureContext) return; // no worklets
  const { addModule } = AudioWorklet.prototype;
  AudioWorklet.prototype.addModule = async function (...given) {
    await (this.tapped ??= addModule.call(this, "/tap.worklet.js"));
    return addModule.apply(this, given);
  };
  const taps = new Map();
  const tapOf = (context) => {
    if (taps.has(context)) return taps.get(context);
    const tap = new AudioWorkletNode(context, "tap", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
    heard.rate = context.sampleRate;
    heard.context = context;
    tap.port.postMessage({ jitterMs: heard.jitterMs });
    tap.port.onmessage = ({ data: { at, pcm, latestMs } }) => {
      heard.latestMs = latestMs;
      if (!heard.pieces.length) heard.at = at;
      heard.pieces.push(pcm);
      heard.now = at + pcm.length / heard.rate;
      heard.loudS += pcm.filter((s) => Math.abs(s) > 0.003).length / heard.rate;
    };
    taps.set(context, tap);
    return tap;
  };
  const { connect } = AudioNode.prototype;
  AudioNode.prototype.connect = function (to, ...more) {
    if (to instanceof AudioDestinationNode && this.context instanceof AudioContext) {
      connect.call(this, tapOf(this.context));
    }
    return connect.call(this, to, ...more);
  };
  // A microphone whose sound begins when `speak` is called; returns the time of its first word.
  window.becomeMicrophone = (base64) => {
    navigator.mediaDevices.getUserMedia = async () => {
      const { context } = heard;
      const out = context.createMediaStreamDestination();
      const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
      const buffer = await context.decodeAudioData(bytes.buffer);
      window.speak = () => {
        const source = new AudioBufferSourceNode(context, { buffer });
        source.connect(out);
        const at = context.currentTime + 0.05;
        source.start(at);
        const samples = buffer.getChannelData(0);
        return at + samples.findIndex((s) => Math.abs(s) > 0.02) / buffer.sampleRate;
      };
      return out.stream;
    };
  };
};

export class Browser {
  /** @param context of playwright @param {string} url of the server */
  constructor(context, url) {
    this.context = context;
    this.url = url;
    this.troubles = []; // what the console should not have shown
    this.expected = /^$/; // what it should
  }

  /** Open the page and wait until it is ready. */
  async open(url = this.url, { ready = true } = {}) {
    const page = await this.context.newPage();
    page.on("pageerror", (error) => this.troubles.push(error.message));
    page.on("console", (line) => {
      if (line.type() === "error" && !this.expected.test(line.text())) this.troubles.push(line.text());
    });
    await page.addInitScript(listen);
    await page.goto(url);
    if (ready) await status(page, /^Ready$/);
    return page;
  }
}

/** Wait for what the status line says. */
export const status = (page, wanted) => page.locator("#status", { hasText: wanted }).waitFor();

/** Wait for what it says or once said, however soon that was over; returns it. */
export const once = async (page, wanted) => {
  const said = await page.waitForFunction(
    (pattern) => window.statuses.find((text) => new RegExp(pattern).test(text)), wanted.source);
  return said.jsonValue();
};

export const state = (page, name) =>
  page.waitForFunction((wanted) => document.body.dataset.state === wanted, name);

/** Everything in the conversation: [who, words]. */
export const bubbles = (page) =>
  page.$$eval(".bubble", (all) => all.map((one) => [one.classList[1], one.querySelector("p").textContent]));

export const shot = (page, name) => page.screenshot({ path: join(OUT, `${name}.png`), animations: "disabled" });

export const type = async (page, text) => {
  await page.fill("#text-input", text);
  await page.press("#text-input", "Enter");
};

/** Wait until so many answers have been heard to their end. */
export const answered = async (page, count) => {
  await page.waitForFunction((n) => document.querySelectorAll(".bubble.assistant .timeline").length >= n, count);
  await page.waitForFunction(() => document.body.dataset.state !== "speaking");
};

/** Wait until so many seconds of sound were heard since the page was opened. */
export const sounded = (page, seconds) => page.waitForFunction((s) => window.heard.loudS >= s, seconds);

/** Wait for a time of the audio graph. */
export const clock = (page, at) => page.waitForFunction((s) => window.heard.now >= s, at);

/** Write what was heard to NAME.f32; returns its rate and the time of its first sample. */
export const save = async (page, name) => {
  const found = await page.evaluate(() => {
    const { pieces, at, rate } = window.heard;
    let text = "";
    for (const piece of pieces) {
      const bytes = new Uint8Array(piece.buffer);
      text += String.fromCharCode(...bytes);
    }
    return { pcm: btoa(text), at, rate };
  });
  await writeFile(join(OUT, `${name}.f32`), Buffer.from(found.pcm, "base64"));
  return { at: found.at, rate: found.rate };
};

/** The page's microphone hears a file when `speak` is called in it. */
export const microphone = async (page, file) => {
  const base64 = (await readFile(file)).toString("base64");
  await page.evaluate((sound) => window.becomeMicrophone(sound), base64);
};

/** Count the serious findings of axe-core. */
export const axe = async (page, view) => {
  await page.evaluate(await readFile(join(process.env.MODULES, "axe-core/axe.min.js"), "utf8"));
  const { violations } = await page.evaluate(() => window.axe.run());
  return violations.map(({ id, impact, nodes }) => [view, id, impact, nodes.map((node) => node.html)]);
};
