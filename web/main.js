// The page: joins its parts to its buttons and keys.

import { watchConnection } from "./connection.js";
import { showKept } from "./conversation.js";
import { pageMemory } from "./memory.js";
import { $, ask, element, key, loadRoles, loadVoices, show } from "./page.js";
import { RealtimeClient } from "./realtime.js";
import { SAMPLES } from "./samples.js";
import { SPOKEN, choose, explain, label, offer, offerVoice, restore, settings } from "./settings.js";
import { Sound } from "./sound.js";
import { Studio } from "./studio.js";
import { Talk } from "./talk.js";

const HOLD_MS = 300; // a shorter press is a click: the next one sends
const THEME = "step-audio.theme";
const scheme = location.protocol === "https:" ? "wss:" : "ws:";
// The server's own key stays out of the socket: each session gets one that opens nothing else.
const secret = async () => {
  const init = { method: "POST", headers: { "Content-Type": "application/json" }, body: "{}" };
  return (await (await ask("/v1/realtime/client_secrets", init)).json()).value;
};
const client = new RealtimeClient(`${scheme}//${location.host}/v1/realtime`, key ? secret : null);
client.on("session.created", ({ session }) => offer(session.style)); // before it is told of wishes
const sound = new Sound();
const talk = new Talk(client, sound);
const studio = new Studio(sound, () => {
  talk.stop();
  mute(false); // a recording is made to be heard
});

/** @param {string} id @param {string} type @param {(event: any) => void} handle */
const on = (id, type, handle) => $(id).addEventListener(type, handle);
const trouble = (/** @type {Error} */ error) => show(error.message, "error");

// --- the big button: a click, or a press that lasts as long as the question ----------------------

let pressedAt = 0;

on("start", "pointerdown", (event) => {
  pressedAt = 0;
  if (event.button !== 0 || talk.live || talk.holding) return;
  pressedAt = performance.now();
  $("start").setPointerCapture(event.pointerId);
  talk.start();
});
on("start", "pointerup", () => {
  if (pressedAt && performance.now() - pressedAt >= HOLD_MS) talk.send();
});
on("start", "click", () => {
  // The click that ends the press which began this recording is not one that sends it.
  const own = pressedAt;
  pressedAt = 0;
  if (own) return;
  if (talk.live) talk.stop();
  else if (talk.holding) talk.send();
  else talk.start(); // from the keyboard
});
on("stop", "click", () => talk.stop());
function mute(/** @type {boolean} */ muted) {
  $("mute").setAttribute("aria-pressed", String(muted));
  $("mute-label").textContent = muted ? "Muted" : "Mute";
  sound.mute(muted);
  talk.refresh();
}
on("mute", "click", () => mute(!sound.muted));

// --- keys: space talks, escape stops -------------------------------------------------------------

const ELSEWHERE = "input, textarea, select, button:not(#start), summary, a, audio, dialog";
const typing = (/** @type {KeyboardEvent} */ { target }) =>
  target instanceof Element && target.closest(ELSEWHERE);

let spaceAt = 0; // when a recording was begun by it

document.addEventListener("keydown", (event) => {
  if (event.code === "Escape" && !studio.recording) talk.stop();
  if (event.code !== "Space" || typing(event) || $("talk").hidden) return;
  event.preventDefault(); // of the page, which would scroll, and of the button, which would click
  if (event.repeat) return;
  if (talk.live && event.target === $("start")) talk.stop();
  else if (talk.live) talk.answers.interrupt();
  else if (talk.holding) talk.send();
  else {
    spaceAt = performance.now();
    // Held, it is push to talk whatever the settings say; on the button it is the button.
    talk.start(event.target === $("start") ? {} : { hold: true });
  }
});
document.addEventListener("keyup", (event) => {
  if (event.code !== "Space" || typing(event)) return;
  if (event.target === $("start")) event.preventDefault();
  // On the button a short press is a click, as it is for a mouse: the next one sends.
  const short = performance.now() - spaceAt < HOLD_MS;
  if (spaceAt && !short) talk.send();
  else if (spaceAt && event.target !== $("start")) talk.tap();
  spaceAt = 0;
});

// --- typing, samples, settings -------------------------------------------------------------------

on("text-form", "submit", (event) => {
  event.preventDefault();
  const input = /** @type {HTMLInputElement} */ ($("text-input"));
  const text = input.value.trim();
  if (!text || !client.usable) return;
  input.value = "";
  talk.type(text).catch(trouble);
});

for (const { file, text } of SAMPLES) {
  const button = element("button", "sample", text);
  button.setAttribute("type", "button");
  button.addEventListener("click", () => client.usable && talk.asking.play(file).catch(trouble));
  $("samples").append(button);
}

for (const id of SPOKEN) {
  on(id, "change", () => {
    choose(id);
    client.update(settings());
  });
}
client.on("session.updated", ({ session }) => {
  explain(session.style);
  if (session.audio?.output) offerVoice(session.audio.output.voice); // a role may bring its own
});
on("help-open", "click", () => /** @type {HTMLDialogElement} */ ($("help")).showModal());
for (const id of ["speed", "loudness"]) on(id, "input", label);
for (const list of ["voices", "roles"]) document.addEventListener(list, restore);
on("studio-speed", "input", ({ target }) => {
  $("studio-speed-value").textContent = `${Number(target.value).toFixed(2)}×`;
});
on("turns", "change", () => {
  choose("turns");
  talk.stop();
  talk.detectTurns(talk.handsFree);
});
on("clear", "click", () => talk.clear());

const listDevices = async () => {
  const devices = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
  const inputs = devices.filter(({ kind, deviceId }) => kind === "audioinput" && deviceId);
  $("device").replaceChildren(
    new Option("Default microphone", ""),
    ...inputs.map(({ label, deviceId }, n) => new Option(label || `Microphone ${n + 1}`, deviceId)),
  );
  /** @type {HTMLSelectElement} */ ($("device")).value = sound.deviceId;
};
on("device", "change", async ({ target }) => {
  const live = talk.live;
  talk.stop();
  sound.deviceId = target.value;
  if (live) await talk.start();
});
on("device", "focus", () => listDevices().catch(trouble)); // names are known once one is open
sound.on("opened", () => listDevices().catch(trouble));
navigator.mediaDevices?.addEventListener("devicechange", () => listDevices().catch(trouble));

// --- tabs and colours ----------------------------------------------------------------------------

const TABS = ["talk", "studio"];
const open = (/** @type {string} */ name) => {
  for (const tab of TABS) {
    $(tab).hidden = tab !== name;
    $(`tab-${tab}`).setAttribute("aria-selected", String(tab === name));
    $(`tab-${tab}`).tabIndex = tab === name ? 0 : -1;
  }
};
for (const tab of TABS) {
  on(`tab-${tab}`, "click", () => open(tab));
  on(`tab-${tab}`, "keydown", ({ key: pressed }) => {
    if (pressed !== "ArrowLeft" && pressed !== "ArrowRight") return;
    const other = TABS[1 - TABS.indexOf(tab)];
    open(other);
    $(`tab-${other}`).focus();
  });
}

// An address that ends in #studio opens it; the key may stand beside it.
if (new URLSearchParams(location.hash.slice(1)).has("studio")) open("studio");

const dark = matchMedia("(prefers-color-scheme: dark)");
const paint = (/** @type {string | null} */ theme) => {
  if (theme) document.documentElement.dataset.theme = theme;
  document.dispatchEvent(new Event("theme"));
};
dark.addEventListener("change", () => paint(null));
paint(pageMemory.get(THEME));
on("theme", "click", () => {
  const now = document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light");
  const next = now === "dark" ? "light" : "dark";
  pageMemory.set(THEME, next);
  paint(next);
});

// --- begin ---------------------------------------------------------------------------------------

watchConnection(client);
client.on("session.created", () => {
  if (!/** @type {HTMLSelectElement} */ ($("voice")).length) loadVoices().catch(trouble);
});
const drawer = /** @type {HTMLDetailsElement} */ ($("settings"));
const narrow = matchMedia("(max-width: 52rem)"); // there they lie over the conversation
drawer.open = !narrow.matches;
narrow.addEventListener("change", () => { drawer.open = !narrow.matches; });
document.addEventListener("pointerdown", ({ target }) => {
  if (narrow.matches && target instanceof Node && !drawer.contains(target)) drawer.open = false;
});
on("settings", "keydown", (event) => {
  if (event.code !== "Escape" || !narrow.matches || !drawer.open) return;
  event.stopPropagation();
  drawer.open = false;
  drawer.querySelector("summary")?.focus();
});
restore();
showKept();
listDevices().catch(trouble);
// Where these fail the connection will fail for the same reason, and says so.
Promise.allSettled([loadVoices(), loadRoles()]).finally(() => client.connect());
