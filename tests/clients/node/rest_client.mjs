// openai for Node, unmodified, against REST: speech, transcripts, completions, voices.
// Environment: REST_URL, REST_FOLDER. The last line of stdout is JSON.

import assert from "node:assert/strict";
import { createReadStream, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import OpenAI from "openai";

const TEXT = "Twelve plus 30 is 42.";
const FORMATS = ["mp3", "opus", "aac", "flac", "wav", "pcm"];
const folder = process.env.REST_FOLDER;
const question = join(folder, "question.wav");
const client = new OpenAI({
  baseURL: process.env.REST_URL, apiKey: "none", maxRetries: 0, timeout: 300_000 });

async function speech() {
  for (const format of FORMATS) {
    const response = await client.audio.speech.create({
      model: "tts-1", voice: "alloy", input: TEXT, response_format: format });
    writeFileSync(join(folder, `node.${format}`), Buffer.from(await response.arrayBuffer()));
  }
}

async function wholeFile() {
  const response = await client.audio.speech.create({
    model: "tts-1", voice: "alloy", input: TEXT, response_format: "flac", stream: false });
  writeFileSync(join(folder, "node-whole.flac"), Buffer.from(await response.arrayBuffer()));
}

async function firstByteMs(runs = 5) {
  const times = [];
  for (let run = 0; run < runs; run += 1) {
    const begun = performance.now();
    const response = await client.audio.speech.create({
      model: "tts-1", voice: "alloy", input: TEXT, response_format: "pcm" });
    const reader = response.body.getReader();
    await reader.read();
    times.push(performance.now() - begun);
    await reader.cancel();
  }
  return times.sort((a, b) => a - b)[Math.floor(runs / 2)];
}

async function transcripts() {
  const heard = await client.audio.transcriptions.create({
    model: "whisper-1", file: createReadStream(question) });
  const stream = await client.audio.transcriptions.create({
    model: "whisper-1", file: createReadStream(question), stream: true });
  let done = null;
  for await (const event of stream) {
    if (event.type === "transcript.text.done") done = event.text;
  }
  assert.equal(done, heard.text);
  return heard.text;
}

async function completions() {
  const data = readFileSync(question).toString("base64");
  const messages = [{
    role: "user",
    content: [{ type: "input_audio", input_audio: { data, format: "wav" } }] }];
  const answer = await client.chat.completions.create({
    model: "gpt-audio", modalities: ["text", "audio"],
    audio: { voice: "alloy", format: "wav" }, messages });
  const audio = answer.choices[0].message.audio;
  assert.equal(Buffer.from(audio.data, "base64").subarray(0, 4).toString(), "RIFF");
  const chunks = await client.chat.completions.create({
    model: "gpt-audio", modalities: ["text", "audio"],
    audio: { voice: "alloy", format: "pcm16" }, messages, stream: true });
  let said = "";
  let bytes = 0;
  for await (const chunk of chunks) {
    const part = chunk.choices[0]?.delta?.audio;
    said += part?.transcript ?? "";
    bytes += Buffer.from(part?.data ?? "", "base64").length;
  }
  assert.equal(said, audio.transcript);
  assert.ok(bytes > 10_000);
  return said;
}

async function voices() {
  const listed = await client.get("/audio/voices");
  await assert.rejects(
    client.audio.speech.create({ model: "tts-1", voice: "nobody", input: "Hi." }),
    (error) => error.code === "voice_not_found" && error.status === 400);
  return listed.voices.map((voice) => voice.id);
}

await speech();
await wholeFile();
console.log(JSON.stringify({
  voices: await voices(),
  heard: await transcripts(),
  said: await completions(),
  first_byte_ms_p50: Math.round(await firstByteMs()),
}));
