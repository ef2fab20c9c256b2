// What a model may ask of the page: to be spoken to faster, slower, louder or softer. Models that are
// told of a client's functions call it; nano is not.

import { Call, keep } from "./conversation.js";
import { setSpeech, settings } from "./settings.js";

/** @typedef {import("./realtime.js").RealtimeClient} RealtimeClient */

export const TOOLS = [
  {
    type: "function",
    name: "set_speech",
    description:
      "Set how fast and how loudly your answers are spoken, when the user asks for it. " +
      "What is left out stays as it is.",
    parameters: {
      type: "object",
      properties: {
        speed: { type: "number", minimum: 0.5, maximum: 2, description: "1 is normal, 2 twice as fast" },
        loudness: { type: "integer", minimum: 1, maximum: 5, description: "3 is normal" },
      },
      additionalProperties: false,
    },
  },
];

export class PageTools {
  /** @param {RealtimeClient} client */
  constructor(client) {
    this.client = client;
    client.on("response.done", ({ response }) => this.done(response));
  }

  /** Run what an answer calls, and let the model go on. @param {any} response */
  done(response) {
    const calls = response.output.filter((/** @type {any} */ item) => item.type === "function_call");
    if (response.status !== "completed" || !calls.length) return;
    for (const { call_id: id, name, arguments: given } of calls) {
      const shown = new Call(name, given);
      const output = JSON.stringify(this.run(name, given));
      shown.finish(output);
      keep({ role: "call", text: name, given, output });
      this.client.send("conversation.item.create", {
        item: { type: "function_call_output", call_id: id, output },
      });
    }
    this.client.send("response.create");
  }

  /** @param {string} name @param {string} given JSON @returns {object} what the model is told */
  run(name, given) {
    if (name !== "set_speech") return { error: `this page has no function ${name}` };
    try {
      const now = setSpeech(JSON.parse(given));
      this.client.update(settings());
      return now;
    } catch (error) {
      return { error: error instanceof Error ? error.message : String(error) };
    }
  }
}
