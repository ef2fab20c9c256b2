// openai-realtime-api: the typed twin of the beta reference client, with its own conversation.
import { readFileSync } from "node:fs";
import { RealtimeClient } from "openai-realtime-api";
import { Inbox, Report, say, TOOL, TRIES, UNINTERRUPTED, URL_WS } from "./flow.mjs";

const manifest = new URL("./node_modules/openai-realtime-api/package.json", import.meta.url);
const report = new Report("openai-realtime-api", JSON.parse(readFileSync(manifest)).version);
const inbox = new Inbox(report);
const client = new RealtimeClient({
  url: URL_WS,
  apiKey: "none",
  dangerouslyAllowAPIKeyInBrowser: true,
  sessionConfig: {
    instructions: "Be brief.",
    voice: "rms",
    turn_detection: { type: "server_vad", silence_duration_ms: 500 },
    input_audio_transcription: { model: "whisper-1" },
  },
});
client.on("error", (event) => report.violations.push(JSON.stringify(event).slice(0, 300)));
client.realtime.on("server.*", (event) => inbox.push(event));
client.on("conversation.interrupted", () => inbox.push({ type: "interrupted" }));
const { type: _, ...tool } = TOOL;
client.addTool(tool, async ({ city }) => {
  inbox.push({ type: "called", city });
  return { condition: "sunny", temperature: 21 };
});
const is = (kind) => (event) => event.type === kind;
const speak = (name) => say(name, (pcm) => {
  client.appendInputAudio(new Int16Array(pcm.buffer.slice(pcm.byteOffset, pcm.byteOffset + pcm.length)));
});

report.wanted = "the connection";
await client.connect();
await client.waitForSessionCreated();
await speak("weather");
const called = (await inbox.until(is("called"), "the call")).at(-1);
report.done("call", { city: called.city });
await inbox.until(is("response.audio.delta"), "the answer");
await inbox.until(is("response.done"), "its end");
const spoken = client.conversation.getItems().filter((item) => item.role === "assistant").at(-1);
if (!spoken.formatted.transcript || spoken.formatted.audio.length < 12_000) {
  throw new Error("the client's conversation lacks the answer");
}
report.done("turn", { samples: spoken.formatted.audio.length, text: spoken.formatted.transcript });
/** Speak into an answer; return whether that came before its end. */
async function interrupted() {
  await speak("story");
  const begun = (e) => e.type === "response.audio.delta" || e.type === "response.done";
  const delta = (await inbox.until(begun, "sound")).at(-1);
  if (delta.type === "response.done") return false;
  const speaking = speak("capital");
  const first = (e) => e.type === "interrupted" || e.type === "response.done";
  const came = (await inbox.until(first, "the interruption")).at(-1);
  if (came.type === "interrupted") {
    client.cancelResponse(delta.item_id, 2400);
    const cut = await inbox.until(is("conversation.item.truncated"), "the truncation");
    if (!cut.some(is("response.done"))) await inbox.until(is("response.done"), "its end");
  }
  await speaking;
  await inbox.until(is("response.done"), "the next answer");
  return came.type === "interrupted";
}

for (let attempt = 1; !(await interrupted()); attempt += 1) {
  if (attempt === TRIES) throw new Error(UNINTERRUPTED);
}
report.done("interruption");
client.disconnect();
if (!client.isConnected) report.done("close");
report.end();
