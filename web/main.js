// The page: buttons and bubbles between the microphone, the socket and the speakers.

import { fromBase64, RealtimeClient } from "./realtime.js";
import { Sound } from "./sound.js";

const $ = (id) => document.getElementById(id);
const PENDING = "pending";
const HOLD_MS = 300; // a shorter press is a click: the next one sends
const key = new URLSearchParams(location.hash.slice(1)).get("key");
const scheme = location.protocol === "https:" ? "wss:" : "ws:";

const client = new RealtimeClient(`${scheme}//${location.host}/v1/realtime`, key);
const sound = new Sound();

const state = {
  recording: false,
  discard: false,
  pressedAt: 0,
  askedAt: 0,
  response: null, // id of the one under way, PENDING until the server has named it
  answer: null, // {id, playedMs, bubble} of the answer being played
  waiting: null, // bubble of a spoken question without an item id yet
  questions: new Map(), // item id -> bubble
};

// --- what is shown ---------------------------------------------------------------------------

const show = (text, isError = false) => {
  $("status").textContent = text;
  $("status").classList.toggle("error", isError);
};

const bubble = (who, text) => {
  const node = document.createElement("p");
  node.className = `bubble ${who}`;
  node.append(document.createTextNode(text));
  $("conversation").append(node);
  node.scrollIntoView({ block: "end" });
  return node;
};

const write = (node, text) => {
  node.firstChild.data = text;
  node.scrollIntoView({ block: "end" });
};

const note = (node, text) => {
  const meta = document.createElement("span");
  meta.className = "meta";
  meta.textContent = text;
  node.append(meta);
};

const refresh = () => {
  for (const id of ["start", "text-input", "text-send", "voice"]) $(id).disabled = !client.open;
  $("start").setAttribute("aria-pressed", String(state.recording));
  $("start-label").textContent = state.recording ? "Send" : "Talk";
  $("stop").disabled = !(state.recording || state.response || state.answer);
  if (!state.recording) $("level").style.setProperty("--loud", "1");
};

const idle = () => {
  if (!state.recording && !state.response && !state.answer) show("Ready");
  refresh();
};

// --- what the user does ----------------------------------------------------------------------

const stopAnswer = () => {
  if (!state.response && !state.answer) return;
  client.interrupt(state.answer?.id, state.answer?.playedMs, Boolean(state.response));
  sound.silence();
  state.answer = null;
  state.response = null;
};

const record = async () => {
  stopAnswer();
  try {
    await sound.microphone();
  } catch (error) {
    show(`No microphone: ${error.message}. You can type instead.`, true);
    return;
  }
  state.recording = true;
  state.discard = false;
  sound.record();
  show("Listening…");
  refresh();
};

const send = () => {
  state.recording = false;
  sound.stopRecording();
  state.waiting = bubble("user pending", "…");
  state.askedAt = performance.now();
  show("Thinking…");
  refresh();
};

$("start").addEventListener("pointerdown", (event) => {
  state.pressedAt = 0;
  if (event.button !== 0 || state.recording) return;
  state.pressedAt = performance.now();
  $("start").setPointerCapture(event.pointerId);
  record();
});

$("start").addEventListener("pointerup", () => {
  const held = performance.now() - state.pressedAt >= HOLD_MS;
  if (state.pressedAt && held && state.recording) send();
});

$("start").addEventListener("click", () => {
  // The click that ends the press which began this recording is not one that sends it.
  const own = state.pressedAt;
  state.pressedAt = 0;
  if (own) return;
  if (state.recording) send();
  else record(); // from the keyboard
});

$("stop").addEventListener("click", () => {
  if (state.recording) {
    state.recording = false;
    state.discard = true;
    sound.stopRecording();
  }
  stopAnswer();
  idle();
});

$("mute").addEventListener("click", () => {
  const muted = $("mute").getAttribute("aria-pressed") !== "true";
  $("mute").setAttribute("aria-pressed", String(muted));
  $("mute").textContent = muted ? "Muted" : "Mute";
  sound.mute(muted);
});

$("text-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = $("text-input").value.trim();
  if (!text || !client.open) return;
  $("text-input").value = "";
  stopAnswer();
  await sound.ready();
  bubble("user", text);
  state.askedAt = performance.now();
  state.response = PENDING;
  client.ask(text);
  show("Thinking…");
  refresh();
});

$("voice").addEventListener("change", () => {
  client.update({ audio: { output: { voice: $("voice").value } } });
});

// --- what the microphone and the speakers tell -----------------------------------------------

sound.addEventListener("pcm", ({ detail }) => {
  client.append(detail.pcm);
  $("level").style.setProperty("--loud", String(1 + Math.min(0.5, detail.peak)));
});

sound.addEventListener("end", () => {
  if (state.discard) client.send("input_audio_buffer.clear");
  else {
    state.response = PENDING;
    client.commit();
    refresh();
  }
});

sound.addEventListener("progress", ({ detail }) => {
  if (state.answer) state.answer.playedMs = detail.playedMs;
});

sound.addEventListener("finished", () => {
  state.answer = null;
  idle();
});

// --- what the server tells -------------------------------------------------------------------

const on = (type, handle) => client.addEventListener(type, ({ detail }) => handle(detail));
const current = (event) => event.response_id === state.response;

on("session.created", ({ session }) => {
  $("model").textContent = session.model;
  $("voice").value = session.audio.output.voice;
  client.update({ audio: { input: { transcription: { model: session.model } } } });
  idle();
});

on("close", ({ code }) => {
  sound.silence();
  sound.stopRecording();
  Object.assign(state, { recording: false, discard: true, response: null, answer: null, waiting: null });
  refresh();
  show(`Connection lost (${code}). Trying again…`, true);
  setTimeout(() => client.connect(), 2000);
});

on("input_audio_buffer.committed", ({ item_id: id }) => {
  if (state.waiting) state.questions.set(id, state.waiting);
  state.waiting = null;
});

on("conversation.item.input_audio_transcription.completed", ({ item_id: id, transcript }) => {
  const node = state.questions.get(id);
  if (!node) return;
  write(node, transcript || "(nothing understood)");
  node.classList.remove("pending");
});

on("response.created", ({ response }) => {
  state.response = response.id;
  refresh();
});

on("response.output_item.added", (event) => {
  if (!current(event) || event.item.type !== "message") return;
  sound.silence();
  state.answer = { id: event.item.id, playedMs: 0, text: "", heard: false, node: bubble("assistant", "") };
});

on("response.output_audio_transcript.delta", (event) => {
  if (!current(event) || !state.answer) return;
  state.answer.text += event.delta;
  write(state.answer.node, state.answer.text);
});

on("response.output_audio.delta", (event) => {
  if (!current(event) || !state.answer) return;
  if (!state.answer.heard) {
    state.answer.heard = true;
    note(state.answer.node, `first sound after ${Math.round(performance.now() - state.askedAt)} ms`);
    show("Speaking…");
  }
  sound.play(fromBase64(event.delta));
});

on("response.done", ({ response }) => {
  if (response.id !== state.response) return;
  state.response = null;
  if (response.status === "failed") {
    const why = response.status_details?.error?.message ?? "unknown";
    show(`The answer failed: ${why}`, true);
    state.answer?.node.classList.add("failed");
  }
  if (state.answer?.heard) sound.finish();
  else state.answer = null;
  if (response.status === "failed") refresh();
  else idle();
});

on("error", ({ error }) => {
  if (error.code === "response_cancel_not_active") return; // it had just ended
  if (error.code === "input_audio_buffer_commit_empty") {
    state.waiting?.remove();
    state.waiting = null;
    show("That was too short: hold the button while you speak.", true);
  } else {
    show(error.message, true);
  }
  if (state.response === PENDING) state.response = null;
  refresh();
});

const loadVoices = async () => {
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  const response = await fetch("/v1/audio/voices", { headers });
  const { voices = [] } = await response.json();
  $("voice").replaceChildren(...voices.map(({ id, name }) => new Option(name, id)));
};

loadVoices()
  .catch((error) => show(`No voices: ${error.message}`, true))
  .finally(() => client.connect());
