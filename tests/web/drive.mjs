// Drives the page in a real Chromium, as a person would, and prints what came of it as JSON.
//
// node drive.mjs STEP: one of the functions of steps.mjs. Environment: MODULES (node_modules),
// CHROMIUM, PROFILE (an empty folder), URL, OUT (artefacts), QUESTION (wav: what the microphone
// hears), SAMPLE (a recording to upload).

import { join } from "node:path";
import { pathToFileURL } from "node:url";

import { Browser, shot } from "./browser.mjs";
import { steps } from "./steps.mjs";

const { MODULES, CHROMIUM, PROFILE, QUESTION } = process.env;
const { chromium } = await import(pathToFileURL(join(MODULES, "playwright-core/index.mjs")).href);
const args = [
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
  "--host-resolver-rules=MAP house.test 127.0.0.1", // an address that is not this machine's own
  "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
  `--use-file-for-fake-audio-capture=${QUESTION}%noloop`,
];
const viewport = { width: 1200, height: 820 };
const context = await chromium.launchPersistentContext(PROFILE, { executablePath: CHROMIUM, args, viewport });
context.setDefaultTimeout(Number(process.env.PATIENCE_MS ?? 60_000));
const browser = new Browser(context);
const step = process.argv[2];
const result = await steps[step](browser).catch(async (error) => {
  for (const page of context.pages()) await shot(page, `failed-${step}`).catch(() => {});
  console.error(`the page's console: ${JSON.stringify(browser.troubles)}`);
  throw error;
});
await context.close();
console.log(JSON.stringify({ ...result, troubles: browser.troubles }));
