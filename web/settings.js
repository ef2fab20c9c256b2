// How the assistant is to speak: chosen in the form, kept in the tab, told to the session, and what
// of it this model does not follow.

import { tabMemory } from "./memory.js";
import { $ } from "./page.js";

const STORE = "step-audio.settings";
const LOUDNESS = ["very quiet", "quiet", "normal", "loud", "very loud"];
const WISHES = { role: "the role", emotion: "this style", mode: "this style", dialect: "the dialect" };

/** Fields whose change the session is told of. */
export const SPOKEN = ["voice", "style", "dialect", "speed", "loudness", "role-card", "role"];
const FIELDS = [...SPOKEN, "turns"];
const SONGS = ["sing", "rap"];

/** What the person chose, by field; what was never touched is the server's to say. */
const chosen = Object.fromEntries(
  Object.entries(tabMemory.read(STORE, {})).filter(([id]) => FIELDS.includes(id)),
);

const field = (/** @type {string} */ id) => /** @type {HTMLSelectElement | HTMLInputElement} */ ($(id));
const value = (/** @type {string} */ id) => field(id).value;

/** What the model follows of role, emotion, mode and dialect; null: the server does not say. */
let followed = /** @type {string[] | null} */ (null);
const REASONS = {
  style: "This model follows no style.",
  dialect: "This model follows no dialect.",
  role: "This model follows no role card. Ask aloud: “talk like a pirate”.",
};

/** Bar what has no effect, and say why beside it. */
const bar = () => {
  if (!followed) return;
  const has = (/** @type {string} */ name) => /** @type {string[]} */ (followed).includes(name);
  const barred = { style: !has("emotion") && !has("mode"), dialect: !has("dialect"), role: !has("role") };
  for (const option of /** @type {HTMLSelectElement} */ ($("style")).options) {
    if (option.value) option.disabled = !has(SONGS.includes(option.value) ? "mode" : "emotion");
  }
  for (const [id, why] of Object.entries(REASONS)) {
    const off = barred[/** @type {keyof typeof barred} */ (id)];
    field(id).disabled = off;
    if (off) field(id).value = "";
    $(`${id}-reason`).textContent = off ? why : "";
    $(`${id}-reason`).hidden = !off;
  }
};

/**
 * Offer what the session's model follows.
 * @param {Record<string, any> | undefined} style of the session; servers other than ours have none
 */
export const offer = (style) => {
  followed = style?.available ?? null;
  restore();
};

/** Show what was chosen before a reload. */
export const restore = () => {
  for (const [id, text] of Object.entries(chosen)) {
    const before = value(id);
    field(id).value = String(text);
    if (!value(id) && text) field(id).value = before; // no longer offered
  }
  bar();
  label();
};

/** @param {string} id a field that the person changed */
export const choose = (id) => {
  chosen[id] = value(id);
  tabMemory.set(STORE, JSON.stringify(chosen));
};

/** Figures beside the sliders. */
export const label = () => {
  $("speed-value").textContent = `${Number(value("speed")).toFixed(2)}×`;
  $("loudness-value").textContent = `${value("loudness")} of 5`;
  $("loudness").setAttribute("aria-valuetext", LOUDNESS[Number(value("loudness")) - 1]);
};

/** The session's voice, unless another one was chosen. @param {string} name */
export const offerVoice = (name) => {
  if (!chosen.voice) field("voice").value = name;
};

/** The form, as the session is told it. */
export const settings = () => {
  const style = value("style");
  const mode = SONGS.includes(style) ? style : null;
  return {
    style: {
      role: value("role-card") || value("role").trim() || null,
      emotion: mode ? null : style || null,
      dialect: value("dialect") || null,
      mode,
      loudness: Number(value("loudness")),
    },
    audio: { output: { voice: chosen.voice ? value("voice") : undefined, speed: Number(value("speed")) } },
  };
};

/**
 * Move the sliders as a model asks for it; returns where they stand.
 * @param {any} wished what is not named stays
 * @returns {{speed: number, loudness: number}}
 */
export const setSpeech = (wished) => {
  for (const id of ["speed", "loudness"]) {
    if (wished?.[id] === undefined) continue;
    if (!Number.isFinite(wished[id])) throw new Error(`${id} is not a number`);
    field(id).value = String(wished[id]); // a slider keeps to its range
    choose(id);
  }
  label();
  return { speed: Number(value("speed")), loudness: Number(value("loudness")) };
};

/**
 * Say what has no effect.
 * @param {Record<string, any> | undefined} style of the session; servers other than ours have none
 */
export const explain = (style) => {
  const idle = Object.entries(WISHES)
    .filter(([name]) => style?.[name] && style[name] !== "speech" && !style.applied.includes(name))
    .map(([, words]) => words);
  const lost = Object.entries(style?.not_applied ?? {}).filter(([part]) => part.startsWith("role."));
  const reasons = [...new Set(lost.map(([, why]) => why))];
  const lines = [];
  if (idle.length) {
    const wishes = [...new Set(idle)].join(" and ");
    lines.push(`This model does not follow ${wishes}. It may if you ask aloud: “talk like a pirate”.`);
  }
  if (reasons.length && style?.applied.includes("role")) lines.push(`Of the role: ${reasons.join("; ")}.`);
  const note = $("style-note");
  note.textContent = lines.join(" ");
  note.hidden = !lines.length;
};
