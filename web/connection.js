// What the person is told of the line: connected, lost and why, resumed, about to end.

import { $, ask, show } from "./page.js";

/** @typedef {import("./realtime.js").RealtimeClient} RealtimeClient */

const PATIENCE_MS = 5000;
const AGAIN_MS = 3000;

/** Why no connection comes about; the socket itself does not say. @returns {Promise<string>} */
const cause = async () => {
  try {
    await ask("/v1/models", { signal: AbortSignal.timeout(PATIENCE_MS) });
    return "The server takes nobody more just now.";
  } catch (error) {
    const late = error instanceof DOMException && error.name === "TimeoutError";
    const unreachable = error instanceof TypeError || late;
    if (unreachable) return "The server does not answer. Is it still running?";
    const wanted = error instanceof Error ? error.message : String(error);
    return wanted.includes("key")
      ? "This server asks for a key: open its address with #key=YOUR-KEY at the end."
      : `The server refuses: ${wanted}.`;
  }
};

/** @param {number} s */
const duration = (s) => (s >= 90 ? `${Math.round(s / 60)} minutes` : `${Math.round(s)} seconds`);

/**
 * @param {{reason: string, expires_in_s: number}} warning
 * @returns {string}
 */
const warned = ({ reason, expires_in_s: leftS }) =>
  reason === "idle"
    ? `Still there? In ${duration(leftS)} this conversation goes to sleep. Speak or type to keep it awake.`
    : `This conversation has lasted as long as it may. In ${duration(leftS)} it goes on in a new one; ` +
      "what was said is taken along.";

/** Which models hear, answer and speak, where they are several. */
const showAtWork = async () => {
  try {
    const { data } = await (await ask("/v1/models")).json();
    const parts = data[0]?.at_work;
    for (const id of ["at-work", "parts"]) $(id).hidden = !parts;
    if (!parts) return;
    const { ear, chat, voice } = parts;
    $("at-work").textContent = `You are heard by ${ear}, answered by ${chat}, and spoken to by ${voice}.`;
    $("parts").textContent = `Ear: ${ear}. Chat model: ${chat}. Voice: ${voice}.`;
  } catch {
    for (const id of ["at-work", "parts"]) $(id).hidden = true; // they are only shown
  }
};

/** @param {"open" | "closed" | "asleep"} state @param {string} label */
const paint = (state, label) => {
  $("connection").dataset.state = state;
  $("connection-label").textContent = label;
};

/** Say so while a model does not answer, before anybody asks it. @param {RealtimeClient} client */
const watchModels = async (client) => {
  let told = false;
  while (client.open) {
    const reply = await fetch("/readyz").catch(() => null);
    const { missing = [] } = reply?.status === 503 ? await reply.json().catch(() => ({})) : {};
    if (missing.length) {
      told = true;
      const parts = missing.join(" and the ");
      show(`The ${parts} does not answer. Questions fail until it does; the server looks again.`, "error");
    } else {
      if (told && $("status").dataset.kind === "error") show("Ready");
      return;
    }
    await new Promise((wake) => setTimeout(wake, AGAIN_MS));
  }
};

/** @param {RealtimeClient} client */
export const watchConnection = (client) => {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let lost;
  const found = () => {
    clearTimeout(lost);
    lost = undefined;
  };
  client.on("session.created", ({ session }) => {
    found();
    void watchModels(client);
    $("model").textContent = session.model;
    $("nano-notice").hidden = !session.model.includes("nano");
    paint("open", "Connected");
    showAtWork();
  });
  client.on("session.resumed", () => {
    found();
    paint("open", "Connected");
  });
  client.on("session.expiring", (event) => show(warned(/** @type {any} */ (event)), "busy"));
  client.on("close", async ({ opened, retryMs, resuming, asleep }) => {
    if (asleep) {
      paint("asleep", "Asleep");
      show("Asleep, since nobody spoke for a while. Press Start, or type, and it goes on.");
      return;
    }
    paint("closed", "Reconnecting");
    if (!retryMs) {
      found();
      return; // the person's own wish
    }
    const explain = async () => {
      const why = await cause();
      if (!client.open) show(`${why} Trying again every few seconds.`, "error");
    };
    if (!opened && !resuming) await explain();
    else if (lost === undefined) {
      show(`The connection broke. ${resuming ? "Picking up where it was" : "Connecting again"}…`, "error");
      lost = setTimeout(explain, PATIENCE_MS);
    }
  });
};
