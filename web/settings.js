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

/** What the person chose, by field; what was never touched is the server's to say. */
const chosen = Object.fromEntries(
  Object.entries(tabMemory.read(STORE, {})).filter(([id]) => FIELDS.includes(id)),
);

const field = (/** @type {string} */ id) => /** @type {HTMLSelectElement | HTMLInputElement} */ ($(id));
const value = (/** @type {string} */ id) => field(id).value;

/** Show what was chosen before a reload. */
export const restore = () => {
  for (const [id, text] of Object.entries(chosen)) {
    const before = value(id);
    field(id).value = String(text);
    if (!value(id) && text) field(id).value = before; // no longer offered
  }
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
  const mode = style === "sing" || style === "rap" ? style : null;
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
