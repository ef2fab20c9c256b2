// As much of a browser as the page needs to hold a conversation: elements that remember, an
// AudioContext whose worklets answer at once. Prints what a user would see, as JSON.

const port = process.env.PORT;

class Element {
  constructor() {
    this.listeners = {};
    this.children = [];
    this.attributes = {};
    this.classes = new Set();
    this.style = { setProperty() {} };
    this.value = "";
    this.text = "";
    this.classList = {
      add: (name) => this.classes.add(name),
      remove: (name) => this.classes.delete(name),
      toggle: (name, on) => (on ? this.classes.add(name) : this.classes.delete(name)),
    };
  }
  set className(names) { this.classes = new Set(names.split(" ")); }
  set textContent(text) { this.text = text; }
  get textContent() { return this.children.map((c) => c.data).join("") || this.text; }
  get firstChild() { return this.children[0]; }
  append(...nodes) { this.children.push(...nodes); }
  replaceChildren(...nodes) { this.children = nodes; }
  setAttribute(name, value) { this.attributes[name] = value; }
  getAttribute(name) { return this.attributes[name] ?? null; }
  addEventListener(type, listener) { (this.listeners[type] ??= []).push(listener); }
  setPointerCapture() {}
  scrollIntoView() {}
  remove() { this.removed = true; }
  async fire(type) {
    const event = { button: 0, pointerId: 1, preventDefault() {} };
    for (const listener of this.listeners[type] ?? []) await listener(event);
  }
}

class Worklet {
  constructor(_, name) {
    this.heard = 0;
    this.port = { onmessage: null, postMessage: (data) => this[name](data) };
    Worklet[name] = this;
  }
  connect() {}
  tell(data) { this.port.onmessage({ data }); }
  capture({ type }) {
    if (type !== "stop") return;
    this.tell({ type: "pcm", pcm: new Int16Array(24000).fill(900), peak: 0.1 });
    this.tell({ type: "end" });
  }
  playback({ type, pcm }) {
    if (type === "pcm") this.heard += pcm.length;
    if (type === "end") setTimeout(() => this.tell({ type: "finished", playedMs: 360 }), 5);
  }
}

const elements = {};
const $ = (id) => (elements[id] ??= new Element());
const realFetch = fetch;
const globals = {
  document: {
    getElementById: $,
    createElement: () => new Element(),
    createTextNode: (data) => ({ data }),
  },
  location: { hash: "", protocol: "http:", host: `127.0.0.1:${port}` },
  navigator: { mediaDevices: { getUserMedia: async () => ({}) } },
  fetch: (path, options) => realFetch(`http://127.0.0.1:${port}${path}`, options),
  Option: class { constructor(name, value) { this.data = name; this.value = value; } },
  AudioWorkletNode: Worklet,
  AudioContext: class {
    audioWorklet = { addModule: async () => {} };
    async resume() {}
    createMediaStreamSource() { return { connect() {} }; }
  },
};
for (const [name, value] of Object.entries(globals)) {
  Object.defineProperty(globalThis, name, { value, configurable: true });
}

const until = async (met) => {
  for (let n = 0; n < 500 && !met(); n++) await new Promise((done) => setTimeout(done, 10));
};
const bubbles = () => $("conversation").children;
const settled = (count) => until(() => bubbles().length === count && $("status").text === "Ready");

await import(process.env.PAGE);
const seen = [];
await until(() => $("status").text === "Ready");
seen.push($("model").text, $("voice").children.map((option) => option.value));

$("text-input").value = "time?";
await $("text-form").fire("submit");
await settled(2);

await $("start").fire("pointerdown"); // a click starts, another sends
await $("start").fire("pointerup");
await $("start").fire("click");
await until(() => $("status").text === "Listening…");
seen.push($("start-label").text);
await $("start").fire("pointerdown");
await $("start").fire("click");
await settled(4);

await $("start").fire("pointerdown"); // recorded, then thrown away
await $("start").fire("pointerup");
await $("start").fire("click");
await until(() => $("status").text === "Listening…");
await $("stop").fire("click");
await settled(4);

const said = bubbles().map((node) => [[...node.classes].join(" "), node.firstChild.data]);
console.log(JSON.stringify({ seen, said, heard: Worklet.playback.heard }));
process.exit(0);
