// What every client has to do, and how it reports; the JavaScript side of python/flow.py.
import { readFileSync } from "node:fs";
import { join } from "node:path";

const RATE_HZ = 24_000;
const CHUNK_BYTES = RATE_HZ / 10 * 2;
const FASTER = 4;
const STEP_MS = 90_000; // longest wait for one event, on a machine that others keep busy
const SCRIPT_MS = 240_000;
/** An answer may be complete, or without sound, before speech gets to it; then once more. */
export const TRIES = 6;
export const UNINTERRUPTED = "every answer was complete before it could be interrupted";

export const WEATHER = '{"condition":"sunny","temperature":21}';
export const TOOL = {
  type: "function",
  name: "get_weather",
  description: "Tell the weather of a city.",
  parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
};
export const URL_WS = process.env.REALTIME_URL;
export const URL_TLS = process.env.REALTIME_TLS_URL;

/** Return a spoken question, and silence after it, in pieces of 100 ms of PCM16. */
export function question(name) {
  const pcm = readFileSync(join(process.env.REALTIME_SOUNDS, `${name}.pcm`));
  const whole = Buffer.concat([pcm, Buffer.alloc(CHUNK_BYTES * 9)]);
  const pieces = [];
  for (let at = 0; at < whole.length; at += CHUNK_BYTES) {
    pieces.push(whole.subarray(at, at + CHUNK_BYTES));
  }
  return pieces;
}

/** Send a question through `send`, faster than it was spoken. */
export async function say(name, send) {
  for (const piece of question(name)) {
    send(piece);
    await new Promise((done) => setTimeout(done, 100 / FASTER));
  }
}

/** A queue of events: `push` them as they come, await one that fits. */
export class Inbox {
  #events = [];
  #wake = () => {};
  #report;

  constructor(report) {
    this.#report = report;
  }

  push(event) {
    this.#events.push(event);
    this.#wake();
  }

  /** Return the events up to the first that `fits`. */
  async until(fits, what) {
    this.#report.wanted = what;
    const deadline = Date.now() + STEP_MS;
    const seen = [];
    for (;;) {
      while (this.#events.length) {
        const event = this.#events.shift();
        seen.push(event);
        this.#report.note(event.type);
        if (fits(event)) return seen;
      }
      const left = deadline - Date.now();
      if (left <= 0) throw new Error(`waited ${STEP_MS / 1000} s for ${what}`);
      await new Promise((done) => {
        this.#wake = done;
        setTimeout(done, Math.min(left, 1000));
      });
    }
  }
}

/** What a client saw; `end` prints it as a line of JSON. */
export class Report {
  violations = [];
  wanted = "the start";
  #seen = [];
  #facts;

  constructor(client, version) {
    this.#facts = { client, version };
    process.on("unhandledRejection", (error) => this.#fail(error));
    process.on("uncaughtException", (error) => this.#fail(error));
    setTimeout(() => {
      this.#fail(`ran for ${SCRIPT_MS / 1000} s, lately waiting for ${this.wanted}`);
    }, SCRIPT_MS);
  }

  done(step, facts = true) {
    this.#facts[step] = facts;
  }

  end() {
    const steps = ["turn", "call", "interruption", "close"];
    const missing = steps.filter((step) => !(step in this.#facts));
    const violations = this.violations.slice(0, 10);
    console.log(JSON.stringify({ ...this.#facts, violations, missing }));
    process.exit(missing.length || violations.length || this.#facts.error ? 1 : 0);
  }

  /** Remember an event for the report of a failure; a run of one kind is told once. */
  note(kind) {
    if (this.#seen.at(-1) !== kind) this.#seen = [...this.#seen, kind].slice(-40);
  }

  #fail(error) {
    this.#facts.error = String(error?.stack ?? error).slice(0, 600);
    this.#facts.seen = this.#seen;
    this.end();
  }
}

const is = (kind) => (event) => event.type === kind;
const bytes = (events, kind) =>
  events.filter(is(kind)).reduce((sum, e) => sum + Buffer.from(e.delta, "base64").length, 0);

/** The conversation of a client whose API is events in and out, in the GA shape. */
export async function converse(send, inbox, report) {
  const speak = (name) =>
    say(name, (pcm) => send({ type: "input_audio_buffer.append", audio: pcm.toString("base64") }));
  const sound = "response.output_audio.delta";
  const detection = { type: "server_vad", silence_duration_ms: 500 };
  const input = { transcription: { model: "gpt-4o-transcribe" }, turn_detection: detection };
  await inbox.until(is("session.created"), "session.created");
  send({ type: "session.update", session: { type: "realtime", audio: { input }, tools: [TOOL] } });
  await inbox.until(is("session.updated"), "session.updated");
  await speak("weather");
  const asked = (await inbox.until(is("response.done"), "the call")).at(-1).response;
  const call = asked.output.find((item) => item.type === "function_call");
  report.done("call", JSON.parse(call.arguments));
  const output = { type: "function_call_output", call_id: call.call_id, output: WEATHER };
  send({ type: "conversation.item.create", item: output });
  send({ type: "response.create" });
  const answer = await inbox.until(is("response.done"), "the answer");
  if (bytes(answer, sound) < RATE_HZ) throw new Error("less than half a second of answer");
  report.done("turn", { bytes: bytes(answer, sound) });
  for (let attempt = 0; attempt < TRIES; attempt += 1) {
    await speak("story");
    const begun = (e) => e.type === sound || e.type === "response.done";
    const delta = (await inbox.until(begun, "sound")).at(-1);
    if (delta.type !== sound) continue;
    const speaking = speak("capital");
    const ours = (e) => e.type === "response.done" && e.response.id === delta.response_id;
    const ended = (await inbox.until(ours, "the end of an answer")).at(-1).response;
    await speaking;
    const rest = await inbox.until(is("response.done"), "the next answer");
    if (ended.status !== "cancelled") continue;
    const late = rest.filter((e) => e.response_id === delta.response_id);
    if (late.length) throw new Error(`late: ${late[0].type}`);
    report.done("interruption", ended.status_details);
    return;
  }
  throw new Error(UNINTERRUPTED);
}
