// Drives the page in a real Chromium, as a person would, and prints what came of it as JSON.
//
// node drive.mjs STEP: one of the functions below. Environment: MODULES (node_modules), CHROMIUM,
// PROFILE (an empty folder), URL, OUT (artefacts), QUESTION (wav: what the microphone hears).

import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const { MODULES, CHROMIUM, PROFILE, URL: BASE, OUT, QUESTION } = process.env;
const { chromium } = await import(pathToFileURL(join(MODULES, "playwright-core/index.mjs")).href);
const WIDE = { width: 1200, height: 820 };
const PHONE = { width: 390, height: 800 };
const PATIENCE = { timeout: 120_000 };

const flags = [
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
  "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
  `--use-file-for-fake-audio-capture=${QUESTION}%noloop`,
];
const context = await chromium.launchPersistentContext(PROFILE, {
  executablePath: CHROMIUM, args: flags, viewport: WIDE,
});

// Listens where the page's sound leaves its graph, and can be the microphone.
const instrument = () => {
  const tap = { pieces: [], rate: 0, loudAt: 0, stops: [] };
  const connect = AudioNode.prototype.connect;
  AudioNode.prototype.connect = function (to, ...more) {
    if (to instanceof AudioDestinationNode && this.context instanceof AudioContext && this !== tap.node) {
      tap.node = this.context.createScriptProcessor(256, 1, 1);
      tap.rate = this.context.sampleRate;
      tap.context = this.context;
      tap.node.onaudioprocess = ({ inputBuffer, playbackTime }) => {
        const piece = inputBuffer.getChannelData(0).slice();
        tap.pieces.push(piece);
        if (!piece.some((s) => Math.abs(s) > 0.003)) return;
        // A pause of 150 ms between loud pieces: the sound stopped, and went on.
        if (tap.loudAt && playbackTime - tap.loudAt > 0.15) tap.stops.push(tap.loudAt);
        tap.loudAt = playbackTime;
      };
      connect.call(this, tap.node);
      connect.call(tap.node, to);
    }
    return connect.call(this, to, ...more);
  };
  window.tap = tap;
  // By the clock of the page's own graph: a busy machine delays both ends alike.
  window.becomeMicrophone = (base64) => {
    navigator.mediaDevices.getUserMedia = async () => {
      const out = tap.context.createMediaStreamDestination();
      const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
      const buffer = await tap.context.decodeAudioData(bytes.buffer);
      window.speak = () => {
        const source = tap.context.createBufferSource();
        source.buffer = buffer;
        source.connect(out);
        const at = tap.context.currentTime + 0.05;
        source.start(at);
        const samples = buffer.getChannelData(0);
        return at + samples.findIndex((s) => Math.abs(s) > 0.02) / buffer.sampleRate;
      };
      return out.stream;
    };
  };
};

const troubles = [];
const open = async () => {
  const page = await context.newPage();
  page.on("pageerror", (error) => troubles.push(error.message));
  page.on("console", (line) => line.type() === "error" && troubles.push(line.text()));
  await page.addInitScript(instrument);
  await page.goto(BASE);
  await ready(page);
  return page;
};
const ready = (page) => page.waitForSelector("#status:text-is('Ready')", PATIENCE);
const state = (page, name) =>
  page.waitForFunction((wanted) => document.body.dataset.state === wanted, name, PATIENCE);
const bubbles = (page) =>
  page.$$eval(".bubble", (nodes) => nodes.map((node) => [node.classList[1], node.querySelector("p").textContent]));
const shot = (page, name) => page.screenshot({ path: join(OUT, `${name}.png`) });
const type = async (page, text) => {
  await page.fill("#text-input", text);
  await page.press("#text-input", "Enter");
};
const answered = async (page, count) => {
  await page.waitForFunction((n) => document.querySelectorAll(".bubble.assistant .timeline").length >= n, count, PATIENCE);
  await page.waitForFunction(() => document.body.dataset.state !== "speaking", null, PATIENCE);
};

const steps = {
  // The microphone asks; the answer is recorded where the speakers would be.
  async talk() {
    const page = await open();
    await shot(page, "start-wide");
    await page.click("#start");
    await state(page, "speaking");
    await page.waitForSelector(".timeline", PATIENCE);
    await shot(page, "speaking-wide");
    await answered(page, 1);
    await page.waitForTimeout(300);
    const sound = await page.evaluate(() => [window.tap.rate, ...window.tap.pieces.flatMap((p) => [...p])]);
    await writeFile(join(OUT, "answer.f32"), Float32Array.from(sound.slice(1)));
    await page.click("#stop");
    return { rate: sound[0], bubbles: await bubbles(page), timeline: await page.getAttribute(".timeline", "title") };
  },

  // Somebody speaks into a long answer.
  async interrupt() {
    const page = await open();
    await page.evaluate((file) => window.becomeMicrophone(file), (await readFile(QUESTION)).toString("base64"));
    await page.click("#start");
    await state(page, "listening");
    await type(page, "Count from one to twenty.");
    await page.waitForSelector(".timeline", PATIENCE);
    await page.waitForTimeout(700);
    const spokenAt = await page.evaluate(() => window.speak());
    await page.waitForSelector(".interrupted .mark", PATIENCE);
    await page.waitForTimeout(100);
    const [silentAt, stops] = await page.evaluate(() => [window.tap.loudAt, window.tap.stops]);
    const firstAt = stops.find((at) => at >= spokenAt) ?? silentAt;
    const mark = await page.textContent(".interrupted .mark");
    await shot(page, "interrupted-wide");
    await page.click("#stop");
    return { firstStopMs: 1000 * (firstAt - spokenAt), lastStopMs: 1000 * (silentAt - spokenAt), mark };
  },

  // A tool call is shown; a reload keeps the conversation; the phone's width works.
  async resume() {
    const page = await open();
    await type(page, "what time is it in london");
    await page.waitForSelector(".call .result", PATIENCE);
    const call = await page.$eval(".call", (node) => node.innerText);
    await answered(page, 1);
    await shot(page, "answer-wide");
    const before = await bubbles(page);
    await page.setViewportSize(PHONE);
    await page.reload();
    await ready(page);
    const after = await bubbles(page);
    await type(page, "what is the capital of france");
    await answered(page, 1);
    await shot(page, "answer-phone");
    await page.emulateMedia({ colorScheme: "dark" });
    await shot(page, "dark-phone");
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    return { call, before, after, then: (await bubbles(page)).slice(after.length), overflow };
  },

  // A network that delivers sound at its own pace, each message up to 50 ms late.
  async jitter() {
    let seed = 7;
    const chance = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
    await context.routeWebSocket(/realtime/, (socket) => {
      const server = socket.connectToServer();
      let soundMs = 0;
      let begunAt = 0;
      let last = Promise.resolve();
      server.onMessage((message) => {
        const event = JSON.parse(message);
        if (event.type === "response.created") soundMs = begunAt = 0;
        begunAt ||= event.type === "response.output_audio.delta" ? Date.now() : 0;
        const dueAt = begunAt ? begunAt + soundMs + 50 * chance() : 0;
        if (event.type === "response.output_audio.delta") soundMs += (event.delta.length * 3) / 4 / 48;
        last = last.then(() => new Promise((done) => setTimeout(done, dueAt - Date.now()))).then(() => socket.send(message));
      });
      socket.onMessage((message) => server.send(message));
    });
    const page = await open();
    await type(page, "Go on.");
    await answered(page, 1);
    return { buffer: await page.textContent("#buffer") };
  },

  // Every view in both colours, for people who cannot see it or use no mouse; and refusals.
  async access() {
    const page = await open();
    const axe = await readFile(join(MODULES, "axe-core/axe.min.js"), "utf8");
    const found = [];
    const check = async (view) => {
      await page.evaluate(axe);
      const { violations } = await page.evaluate(() => window.axe.run());
      found.push(...violations.map(({ id, impact, nodes }) => [view, id, impact, nodes.map((n) => n.html)]));
    };
    await check("talk");
    await page.evaluate(() => {
      navigator.mediaDevices.getUserMedia = async () => { throw new DOMException("no", "NotAllowedError"); };
    });
    await page.click("#start");
    await page.waitForSelector("#status[data-kind=error]");
    const refused = await page.textContent("#status");
    await page.focus("#tab-talk");
    await page.keyboard.press("ArrowRight");
    await check("studio");
    await page.click("#theme");
    await check("studio, other colours");
    await page.fill("#studio-text", "Hello.");
    await page.click("#speak");
    await page.waitForSelector("#result:not([hidden])", PATIENCE);
    await page.waitForTimeout(500);
    await shot(page, "studio-wide");
    await page.click("#tab-talk");
    await check("talk, other colours");
    return { found, refused, said: await page.textContent("#studio-status") };
  },
};

const result = await steps[process.argv[2]]();
await context.close();
console.log(JSON.stringify({ ...result, troubles }));
