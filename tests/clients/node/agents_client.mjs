// @openai/agents-realtime: its session runs the tool and truncates on interruption.
import { readFileSync } from "node:fs";
import { OpenAIRealtimeWebSocket, RealtimeAgent, RealtimeSession, tool } from "@openai/agents-realtime";
import { z } from "zod";
import { Inbox, Report, say, TRIES, UNINTERRUPTED, URL_WS, WEATHER } from "./flow.mjs";

const manifest = new URL("./node_modules/@openai/agents-realtime/package.json", import.meta.url);
const report = new Report("openai-agents-js", JSON.parse(readFileSync(manifest)).version);
const inbox = new Inbox(report);
const getWeather = tool({
  name: "get_weather",
  description: "Tell the weather of a city.",
  parameters: z.object({ city: z.string() }),
  execute: async ({ city }) => {
    inbox.push({ type: "called", city });
    return WEATHER;
  },
});
const agent = new RealtimeAgent({ name: "helper", instructions: "Be brief.", tools: [getWeather] });
const transport = new OpenAIRealtimeWebSocket({ url: `${URL_WS}?model=nano` });
const session = new RealtimeSession(agent, {
  transport,
  model: "step-audio-nano",
  tracingDisabled: true,
  config: { audio: { output: { voice: "rms" } } },
});
const warn = console.warn;
console.warn = (...words) => report.violations.push(words.join(" ").slice(0, 300)) && warn(...words);
session.on("error", (error) => report.violations.push(JSON.stringify(error).slice(0, 300)));
session.on("audio", ({ data }) => inbox.push({ type: "audio", bytes: data.byteLength }));
session.on("audio_interrupted", () => inbox.push({ type: "interrupted" }));
session.on("transport_event", (event) => inbox.push(event));
const is = (kind) => (event) => event.type === kind;
const speak = (name) => say(name, (pcm) => session.sendAudio(new Uint8Array(pcm).buffer));

report.wanted = "the connection";
await session.connect({ apiKey: "none" });
await inbox.until(is("session.updated"), "session.updated");
await speak("weather");
const called = (await inbox.until(is("called"), "the call")).at(-1);
report.done("call", { city: called.city });
await inbox.until(is("audio"), "the answer");
const heard = await inbox.until(is("response.done"), "the end of the answer");
report.done("turn", { bytes: heard.reduce((sum, e) => sum + (e.bytes ?? 0), 0) });
/** Speak into an answer; return whether that came before its end. */
async function interrupted() {
  await speak("story");
  const begun = (e) => e.type === "audio" || e.type === "response.done";
  if ((await inbox.until(begun, "sound")).at(-1).type === "response.done") return false;
  const speaking = speak("capital");
  const first = (e) => e.type === "interrupted" || e.type === "response.done";
  const came = (await inbox.until(first, "the interruption")).at(-1);
  await speaking;
  if (came.type === "interrupted") await inbox.until(is("response.done"), "its end");
  await inbox.until(is("response.done"), "the next answer");
  return came.type === "interrupted";
}

for (let attempt = 1; !(await interrupted()); attempt += 1) {
  if (attempt === TRIES) throw new Error(UNINTERRUPTED);
}
report.done("interruption");
session.close();
if (transport.status === "disconnected") report.done("close");
report.end();
