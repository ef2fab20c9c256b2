// npm openai: OpenAIRealtimeWS, which speaks TLS only. Argument: the package, openai or openai-6.
import { readFileSync } from "node:fs";
import { converse, Inbox, Report, URL_TLS } from "./flow.mjs";

const name = process.argv[2];
const { default: OpenAI } = await import(name);
const { OpenAIRealtimeWS } = await import(`${name}/realtime/ws`);
const manifest = new URL(`./node_modules/${name}/package.json`, import.meta.url);
const report = new Report("openai-node", JSON.parse(readFileSync(manifest)).version);
const baseURL = URL_TLS.replace("wss", "https").replace("/realtime", "");
const client = new OpenAI({ apiKey: "none", baseURL });
const options = { rejectUnauthorized: false }; // the certificate was made a minute ago
const realtime = new OpenAIRealtimeWS({ model: "step-audio-nano", options }, client);
const inbox = new Inbox(report);
realtime.on("event", (event) => inbox.push(event));
realtime.on("error", (error) => report.violations.push(String(error)));
report.wanted = "the connection";
await new Promise((done) => realtime.socket.on("open", done));
await converse((event) => realtime.send(event), inbox, report);
const closed = new Promise((done) => realtime.socket.on("close", done));
report.wanted = "the close";
realtime.close();
const code = await closed;
if (code === 1000) report.done("close", { code });
report.end();
