// What a person does with the page, one step a test.

import { answered, axe, bubbles, clock, microphone, once, save, shot, sounded, state, status, type } from "./browser.mjs";
import { frail } from "./network.mjs";

const { QUESTION, SAMPLE } = process.env;
const PHONE = { width: 390, height: 800 };

export const steps = {
  /** The microphone asks; the answer is recorded where the speakers would be. */
  async talk(browser) {
    const page = await browser.open();
    await shot(page, "start-wide");
    await page.click("#start");
    await state(page, "speaking");
    await page.waitForSelector(".timeline");
    await shot(page, "speaking-wide");
    await answered(page, 1);
    const sound = await save(page, "answer");
    await page.click("#stop");
    await status(page, /^Ready$/);
    const timeline = await page.getAttribute(".timeline", "title");
    const playback = await page.textContent("#buffer");
    const at_work = await page.textContent("#at-work");
    return { ...sound, bubbles: await bubbles(page), timeline, playback, at_work };
  },

  /** All of a conversation with a chat model: see tests/any_chat/test_conversation.py. */
  async converse(browser) {
    const line = await frail(browser.url);
    const page = await browser.open(line.url);
    const ask = async (sample, answers) => {
      await page.click(`.sample:has-text("${sample}")`);
      await answered(page, answers);
    };
    await microphone(page, QUESTION);
    await page.click("#start");
    await state(page, "listening");
    await page.evaluate(() => window.speak());
    await answered(page, 1);
    await ask("spider", 2);
    await type(page, "Speak slower, please.");
    await answered(page, 3);
    const speed = await page.inputValue("#speed");
    const calls = await page.locator(".call").allInnerTexts();
    line.breakAfter(60_000);
    await ask("Hello", 4);
    await page.click('.sample:has-text("London")');
    await page.waitForFunction(() => document.querySelectorAll(".bubble.assistant .timeline").length === 5);
    const before = await page.evaluate(() => window.heard.loudS);
    await sounded(page, before + 0.7);
    await page.evaluate(() => window.speak());
    await page.waitForSelector(".interrupted .mark");
    await answered(page, 6);
    const parts = await page.textContent("#parts");
    await shot(page, "chat-wide");
    line.close();
    return { breaks: line.breaks(), speed, calls, parts, bubbles: await bubbles(page) };
  },

  /** Somebody speaks into a long answer. */
  async interrupt(browser) {
    const page = await browser.open();
    await microphone(page, QUESTION);
    await page.click("#start");
    await state(page, "listening");
    await type(page, "Count from one to twenty.");
    await sounded(page, 0.7);
    const spokenAt = await page.evaluate(() => window.speak());
    await page.waitForSelector(".interrupted .mark");
    // Before the question's own answer can begin: it takes longer to ask than this.
    await clock(page, spokenAt + 1.5);
    await shot(page, "interrupted-wide");
    const mark = await page.textContent(".interrupted .mark");
    const sound = await save(page, "interrupted");
    await page.click("#stop");
    return { ...sound, spokenAt, mark };
  },

  /** A tool call is shown; a reload keeps the conversation; the phone's width works. */
  async reload(browser) {
    const page = await browser.open();
    await type(page, "what time is it in london");
    await answered(page, 1);
    const call = await page.locator(".call").first().innerText();
    await shot(page, "answer-wide");
    await type(page, "what is twelve plus thirty");
    await answered(page, 2);
    const before = [await bubbles(page), await page.locator(".call").allInnerTexts()];
    const told = [];
    page.on("websocket", (socket) => {
      socket.on("framesent", ({ payload }) => {
        const { type: kind, item } = JSON.parse(payload);
        if (kind === "conversation.item.create") told.push([item.role, item.content[0].text]);
      });
    });
    await page.setViewportSize(PHONE);
    await page.reload();
    await status(page, /^Ready$/);
    const after = [await bubbles(page), await page.locator(".call").allInnerTexts()];
    const restored = [...told];
    await type(page, "what is the capital of france");
    await answered(page, 1);
    await shot(page, "answer-phone");
    await page.emulateMedia({ colorScheme: "dark" });
    await shot(page, "dark-phone");
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    return { call, before, after, restored, then: (await bubbles(page)).slice(after[0].length), overflow };
  },

  /** The line breaks in the middle of an answer, and in the middle of a frame. */
  async drop(browser) {
    const line = await frail(browser.url);
    const page = await browser.open(line.url);
    const states = page.evaluate(() => new Promise((done) => {
      const seen = [];
      const label = document.getElementById("connection-label");
      new MutationObserver(() => {
        if (seen.at(-1) !== label.textContent) seen.push(label.textContent);
        if (seen.length > 1) done(seen);
      }).observe(label, { childList: true });
    }));
    line.breakAfter(150_000);
    await type(page, "Go on.");
    const seen = await states;
    await answered(page, 1);
    const sound = await save(page, "resumed");
    const first = await bubbles(page);
    await type(page, "And on.");
    await answered(page, 2);
    line.close();
    return { ...sound, seen, breaks: line.breaks(), first, bubbles: await bubbles(page) };
  },

  /** Nobody speaks for too long. */
  async sleep(browser) {
    const page = await browser.open(browser.url, { ready: false });
    const warning = await once(page, /goes to sleep/);
    await status(page, /^Asleep/);
    await shot(page, "asleep-wide");
    await type(page, "Wake up.");
    await answered(page, 1);
    return { warning, bubbles: await bubbles(page) };
  },

  /** From another machine, by plain HTTP: first without the key, then with it. */
  async elsewhere(browser) {
    const address = browser.url.replace("127.0.0.1", "house.test");
    browser.expected = /401|HTTP Authentication failed/;
    const page = await browser.open(address, { ready: false });
    await status(page, /asks for a key/);
    await page.goto(`${address}#key=sesame`);
    await page.reload(); // only the part behind # is another
    await status(page, /^Ready$/);
    await page.click("#start");
    await page.waitForSelector("#status[data-kind=error]");
    const refused = await page.textContent("#status");
    await type(page, "Hello.");
    await answered(page, 1);
    return { secure: await page.evaluate(() => isSecureContext), refused, bubbles: await bubbles(page) };
  },

  /** Push to talk by the space bar, the mute button, a question that asks itself. */
  async hands(browser) {
    const page = await browser.open();
    const loud = (at) => page.evaluate((n) => window.told.slice(n).some(Boolean), at);
    const told = (count) => page.waitForFunction((n) => window.told.length >= n, count);
    await page.evaluate(() => {
      window.told = []; // of each piece that went to the server: whether it holds a sound
      const { send } = WebSocket.prototype;
      WebSocket.prototype.send = function (text) {
        const event = JSON.parse(text);
        if (event.type === "input_audio_buffer.append") window.told.push(/[^A/]/.test(event.audio.slice(0, -2)));
        return send.call(this, text);
      };
    });
    await microphone(page, QUESTION);
    await page.focus("#conversation");
    await page.keyboard.down("Space");
    await page.waitForFunction(() => document.body.dataset.state === "listening");
    await page.evaluate(() => window.speak());
    await page.waitForFunction(() => window.told.some(Boolean));
    await page.keyboard.up("Space");
    await answered(page, 1);
    const spoken = await loud(0);
    await page.click("#mute");
    await page.keyboard.press("Tab");
    await page.focus("#conversation");
    const before = await page.evaluate(() => window.told.length);
    await page.keyboard.down("Space");
    await page.evaluate(() => window.speak?.());
    await told(before + 40);
    await page.keyboard.up("Space");
    const muted = !(await loud(before));
    await answered(page, 2);
    await page.click("#mute");
    await page.click(".sample");
    await answered(page, 3);
    // Where text goes in, a space is a space; on the button a short press is a click.
    await page.locator("#text-input").pressSequentially("a b ");
    const typed = [await page.inputValue("#text-input"), await page.evaluate(() => document.body.dataset.state)];
    await page.fill("#text-input", "");
    await page.press("#start", "Space");
    await status(page, /press again, to send/);
    await told(await page.evaluate(() => window.told.length) + 40);
    await page.press("#start", "Space");
    await answered(page, 4);
    return { spoken, muted, typed, bubbles: await bubbles(page) };
  },

  /** How it is to speak: told to the session, kept over a reload, even where nothing can be stored. */
  async style(browser) {
    const page = await browser.open();
    const said = [];
    const listen = () => page.on("websocket", (socket) => {
      socket.on("framesent", ({ payload }) => {
        const { type: kind, session } = JSON.parse(payload);
        if (kind === "session.update" && session.style) said.push([session.style, session.audio.output]);
      });
    });
    listen();
    const voice = await page.inputValue("#voice");
    await page.reload();
    await status(page, /^Ready$/);
    const first = said.at(-1);
    await page.selectOption("#style", "happy");
    await page.selectOption("#style", "sing");
    await page.selectOption("#dialect", "Cantonese");
    const sung = said.at(-1)[0];
    await shot(page, "style-wide");
    await page.selectOption("#style", "");
    await page.selectOption("#dialect", "");
    await page.fill("#loudness", "5");
    await page.fill("#role", "You are a pirate.");
    await page.press("#role", "Tab");
    await page.reload();
    await status(page, /^Ready$/);
    const again = said.at(-1);
    await page.addInitScript(() => {
      for (const name of ["localStorage", "sessionStorage"]) {
        Object.defineProperty(window, name, { get() { throw new DOMException("barred", "SecurityError"); } });
      }
    });
    await page.reload();
    await status(page, /^Ready$/);
    await page.click("#theme");
    await type(page, "Go on.");
    await answered(page, 1);
    return { voice, first, sung, again, barred: await bubbles(page) };
  },

  /** What nano follows of style, dialect and role: nothing, and that is said before it is chosen. */
  async offered(browser) {
    const page = await browser.open();
    const said = [];
    page.on("websocket", (socket) => {
      socket.on("framesent", ({ payload }) => {
        const { type: kind, session } = JSON.parse(payload);
        if (kind === "session.update" && session.style) said.push(session.style);
      });
    });
    // Chosen where another model spoke.
    await page.evaluate(() => sessionStorage.setItem("step-audio.settings",
      JSON.stringify({ style: "happy", role: "You are a pirate.", loudness: "4" })));
    await page.reload();
    await status(page, /^Ready$/);
    const fields = await page.$$eval("#style, #dialect", (all) =>
      all.map((one) => [one.id, one.disabled, one.value, document.getElementById(`${one.id}-reason`).textContent]));
    await page.setViewportSize({ width: 1100, height: 700 });
    await shot(page, "nano-settings-wide");
    const seen = () => page.$eval("#clear", (button) => {
      const { top, bottom } = button.getBoundingClientRect();
      return top >= 0 && bottom <= innerHeight && document.elementFromPoint(
        button.getBoundingClientRect().left + 20, (top + bottom) / 2) === button;
    });
    const clear = [await seen()];
    await page.setViewportSize(PHONE);
    await page.click("#settings summary");
    await page.waitForFunction(() => document.getElementById("settings").open);
    clear.push(await seen());
    const header = await page.$$eval("header > *", (all) => all.map((one) => {
      const { left, right, width } = one.getBoundingClientRect();
      return [one.id || one.tagName, left >= 0 && right <= innerWidth && one.scrollWidth <= Math.ceil(width)];
    }));
    await shot(page, "nano-settings-phone");
    await page.goto(`${browser.url}#studio`);
    await page.reload();
    const studio = await page.isVisible("#studio");
    await page.click("#help-open");
    const links = await page.$$eval("#help a", (all) => all.map((one) => one.getAttribute("href")));
    await shot(page, "help-phone");
    const found = await axe(page, "help");
    const docs = await page.goto(new URL(links[0], browser.url).href);
    await page.locator("h2", { hasText: "v1" }).or(page.locator("summary, h3")).first().waitFor();
    return { fields, told: said.at(-1), clear, header, studio, links, docs: docs.status(), found };
  },

  /** A phone on its side: nothing lies over the conversation. */
  async landscape(browser) {
    const page = await browser.open();
    const views = [];
    for (const [width, height] of [[667, 375], [844, 390]]) {
      await page.setViewportSize({ width, height });
      await type(page, "what is the capital of france");
      await answered(page, views.length + 1);
      views.push(await page.evaluate(() => {
        const box = (one) => one.getBoundingClientRect();
        const [talk, dock, last, chips] = [
          document.getElementById("conversation"), document.querySelector(".dock"),
          [...document.querySelectorAll(".bubble.assistant")].at(-1), document.getElementById("samples"),
        ].map(box);
        const apart = (a, b) => a.right <= b.left || b.right <= a.left || a.bottom <= b.top || b.bottom <= a.top;
        return {
          apart: apart(talk, dock) && apart(chips, dock) && apart(talk, chips),
          inside: [talk, dock, last].every((one) => one.top >= 0 && one.bottom <= innerHeight + 1 && one.right <= innerWidth),
          within: [...document.querySelectorAll(".bubble .timeline *")].every((one) =>
            box(one).right <= box(one.closest(".bubble")).right),
          answer: last.top >= talk.top - 1 && last.bottom <= talk.bottom + 1,
          lines: talk.height,
          overflow: document.documentElement.scrollWidth - innerWidth,
        };
      }));
      await shot(page, `landscape-${width}`);
    }
    return { views };
  },

  /** The server goes away under the page. */
  async gone(browser) {
    const line = await frail(browser.url);
    browser.expected = /ERR_CONNECTION|WebSocket connection/;
    const page = await browser.open(line.url);
    await type(page, "Go on.");
    await answered(page, 1);
    await page.evaluate(() => { window.cutAt = performance.now(); });
    line.end();
    await status(page, /does not answer/);
    const saidS = await page.evaluate(() => (performance.now() - window.cutAt) / 1000);
    const said = await page.textContent("#status");
    await shot(page, "server-gone-wide");
    return { saidS, said };
  },

  /** The server is there and its model is not. */
  async missing(browser) {
    browser.expected = /503/;
    const page = await browser.open(browser.url, { ready: false });
    await status(page, /does not answer/);
    const said = await page.textContent("#status");
    const asked = (await bubbles(page)).length;
    await shot(page, "model-gone-wide");
    return { said, asked };
  },

  /** Two clicks where one was meant, a change of mind, samples while the microphone listens. */
  async haste(browser) {
    const page = await browser.open();
    const live = () => page.evaluate(() => window.tracks.filter((track) => track.readyState === "live").length);
    await microphone(page, QUESTION);
    await page.evaluate(() => { // who asks for the microphone waits until `allow` is called
      window.tracks = [];
      const open = navigator.mediaDevices.getUserMedia;
      navigator.mediaDevices.getUserMedia = async () => {
        await new Promise((allow) => { window.allow = [...(window.allow ?? []), allow]; });
        const stream = await open();
        window.tracks.push(...stream.getTracks());
        return stream;
      };
    });
    const asked = (count) => page.waitForFunction((n) => window.allow?.length >= n, count);
    const allow = () => page.evaluate(() => window.allow.forEach((go) => go()));
    await page.click("#start");
    await asked(1);
    await page.click("#stop"); // thought better of while the browser asks
    await status(page, /^Ready$/);
    await allow();
    await page.waitForFunction(() => window.tracks.length === 1);
    const unwanted = [await live(), await page.evaluate(() => document.body.dataset.state)];
    await page.press("#start", "Enter");
    await page.press("#start", "Enter");
    await asked(2);
    await allow();
    await state(page, "listening");
    const open = await live();
    await page.click("#mute");
    const muted = await page.textContent("#status");
    await page.click("#mute");

    await page.click(".sample"); // while it listens
    await answered(page, 1);
    await state(page, "listening"); // again
    await page.dblclick(".sample");
    await answered(page, 2);
    await page.waitForFunction(() => !document.querySelector(".bubble.user.pending")); // all heard
    const twice = await bubbles(page);
    await page.click("#stop");
    const stopped = await live();
    await page.click(".sample");
    await page.waitForSelector(".bubble.user.pending");
    await page.click("#stop"); // in the middle of the question
    await status(page, /^Ready$/);
    const quit = await bubbles(page);

    await page.click("#start");
    await allow();
    await state(page, "listening");
    await page.evaluate(() => { // unplugged
      const track = window.tracks.at(-1);
      track.stop();
      track.dispatchEvent(new Event("ended"));
    });
    await status(page, /microphone is gone/);
    await state(page, "idle");
    await page.focus("#conversation"); // held, the space bar is push to talk here too
    await page.keyboard.down("Space");
    await asked(4);
    await allow();
    await status(page, /let go/);
    await clock(page, (await page.evaluate(() => window.speak())) + 0.6);
    await page.keyboard.up("Space");
    await answered(page, 3);
    const held = [await page.evaluate(() => document.body.dataset.state), await page.textContent("#start")];
    await type(page, "Go on.");
    await page.waitForFunction(() => document.body.dataset.state === "speaking");
    await page.click("#clear");
    await status(page, /^Ready$/);
    const left = [await bubbles(page), await page.evaluate(() => sessionStorage.getItem("step-audio.conversation"))];
    return { unwanted, open, muted, twice, stopped, quit, held: held.map((text) => text.trim()), left };
  },

  /** Sound reaches the speakers at its own pace, each piece up to 50 ms late. */
  async jitter(browser) {
    const page = await browser.open();
    await page.evaluate(() => { window.heard.jitterMs = 50; });
    for (const [n, text] of ["Go on.", "And on.", "And on."].entries()) {
      await type(page, text);
      await answered(page, n + 1);
    }
    const latestMs = await page.evaluate(() => window.heard.latestMs);
    return { ...(await save(page, "jitter")), latestMs };
  },

  /** Every view in both colours, for people who cannot see it or use no mouse; and refusals. */
  async access(browser) {
    const page = await browser.open();
    const found = await axe(page, "talk");
    await page.evaluate(() => {
      navigator.mediaDevices.getUserMedia = async () => { throw new DOMException("no", "NotAllowedError"); };
    });
    await page.click("#start");
    await page.waitForSelector("#status[data-kind=error]");
    await page.evaluate(() => { window.statuses = []; });
    await page.click("#start"); // again: the speakers are there now, and tell that they are silent
    await page.waitForFunction(() => window.statuses.length > 1);
    await page.waitForTimeout(500);
    const refused = await page.textContent("#status");
    await page.focus("#tab-talk");
    await page.keyboard.press("ArrowRight");
    found.push(...(await axe(page, "studio")));
    await page.click("#theme");
    found.push(...(await axe(page, "studio, other colours")));
    await page.click("#tab-talk");
    found.push(...(await axe(page, "talk, other colours")));
    await shot(page, "dark-wide");
    await page.setViewportSize(PHONE);
    await page.reload();
    await status(page, /^Ready$/);
    await page.click("#theme");
    found.push(...(await axe(page, "phone")));
    await shot(page, "start-phone");
    await page.click("#settings summary");
    found.push(...(await axe(page, "phone, settings")));
    await shot(page, "settings-phone");
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    return { found, refused, overflow };
  },

  /** Speech to a file; voices from a file and from the microphone. */
  async studio(browser) {
    const page = await browser.open();
    await page.click("#tab-studio");
    await shot(page, "studio-empty-wide");
    await page.fill("#studio-text", "Hello.");
    await page.click("#speak");
    await page.locator("#studio-status", { hasText: "of speech in" }).waitFor();
    const said = await page.textContent("#studio-status");
    const download = page.waitForEvent("download");
    await page.click("#download");
    const file = (await download).suggestedFilename();
    await page.route("**/v1/audio/speech", async (route) => {
      await page.selectOption("#studio-format", "flac"); // while it is made
      await route.fulfill({ body: "a sound that this browser does not know" });
    });
    await page.selectOption("#studio-format", "aac");
    await page.click("#speak");
    const strange = [
      await page.locator("#studio-status", { hasText: "does not play" }).textContent(),
      await page.getAttribute("#download", "download"), await page.isVisible("#wave"),
    ];
    await page.unroute("**/v1/audio/speech");
    await page.selectOption("#studio-format", "wav");
    await page.click("#speak");
    await page.locator("#studio-status", { hasText: "of speech in" }).waitFor();
    const lastsS = await page.$eval("#player", (player) => player.duration);
    await page.fill("#studio-text", "The capital of Belgium is Brussels.");
    for (const style of ["", "happy"]) {
      await page.selectOption("#studio-style", style);
      await page.click("#speak");
      await page.locator("#manner-words .last", { hasText: style || "plain" }).waitFor();
    }
    const manners = await page.locator("#manner-words span").allTextContents();
    const drawn = await page.$eval("#manner", (canvas) => {
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      const of = (name) => getComputedStyle(document.querySelector(`#manner-words .${name}`)).color.match(/\d+/g).map(Number);
      const has = (colour) => data.some((_, at) => at % 4 === 0 && data[at + 3] === 255 && colour.every((c, n) => Math.abs(data[at + n] - c) < 4));
      return [has(of("before")), has(of("last"))];
    });
    await page.locator("#download").scrollIntoViewIfNeeded();
    await shot(page, "studio-manner-wide");

    const told = page.locator("#voice-status");
    await page.click("#add-voice");
    const refused = await page.$eval("#voice-name", (field) => field.validationMessage);
    await page.fill("#voice-name", "uploaded");
    await page.fill("#voice-consent", "Made by a machine, which agrees.");
    await page.click("#add-voice");
    await told.filter({ hasText: "choose a file" }).waitFor();
    await page.setInputFiles("#voice-file", SAMPLE);
    await page.click("#add-voice");
    await told.filter({ hasText: "uploaded" }).waitFor();

    await page.setInputFiles("#voice-file", []);
    await microphone(page, SAMPLE);
    await page.fill("#voice-name", "recorded");
    await page.click("#record");
    await told.filter({ hasText: "Recording" }).waitFor();
    await page.evaluate(() => window.speak());
    await page.waitForFunction(() => parseFloat(document.querySelector("#record-time").textContent) >= 3.5);
    await shot(page, "studio-recording-wide");
    await page.click("#record");
    await told.filter({ hasText: "Recorded" }).waitFor();
    const lasted = await page.textContent("#voice-status");
    await page.click("#add-voice");
    await told.filter({ hasText: "recorded" }).waitFor();
    const voices = await page.$$eval("#studio-voice option", (all) => all.map((one) => one.value));
    const chosen = await page.$eval("#studio-voice", (list) => list.value);
    await shot(page, "studio-wide");
    await page.setViewportSize(PHONE);
    await page.emulateMedia({ colorScheme: "dark" });
    await shot(page, "studio-phone");
    const removed = await removal(browser, page);
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    return { said, file, strange, lastsS, manners, drawn, refused, lasted, voices, chosen, removed, overflow };
  },
};

/** Remove the voice "recorded" by the keyboard: thought better of, failed, done. */
const removal = async (browser, page) => {
  const added = () => page.locator("#voices-list .name").allTextContents();
  const focused = () => page.evaluate(() => document.activeElement.textContent);
  const told = page.locator("#voices-status");
  const button = page.getByRole("button", { name: "Remove recorded" });
  const open = async () => {
    await button.press("Enter");
    await page.locator("#remove-dialog[open]").waitFor();
  };
  await open();
  await shot(page, "remove-phone");
  const found = await axe(page, "removal");
  const safe = await focused();
  await page.keyboard.press("Escape");
  await page.locator("#remove-dialog:not([open])").waitFor({ state: "attached" });
  const kept = [await added(), await focused()];
  browser.expected = /503/;
  await page.route("**/v1/audio/voices/*", (route) =>
    route.fulfill({ status: 503, json: { error: { message: "The disk is away." } } }));
  await open();
  await page.press("#remove-confirm", "Enter");
  await told.filter({ hasText: "The disk is away." }).waitFor();
  await shot(page, "remove-failed-phone");
  await page.unroute("**/v1/audio/voices/*");
  await page.evaluate(() => {
    const other = document.getElementById("voice-status");
    other.textContent = "An upload failed before.";
    other.dataset.kind = "error";
  });
  await open();
  await page.press("#remove-confirm", "Enter");
  await told.filter({ hasText: "recorded was removed" }).waitFor();
  await button.waitFor({ state: "detached" });
  const left = [await added(), await page.$eval("#studio-voice", (list) => list.value)];
  return { found, safe, kept, left, other: await page.textContent("#voice-status") };
};
