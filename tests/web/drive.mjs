// Drives the page in a real Chromium, as a person would: takes one step a line ({"step", "url"}) and
// answers each with what came of it, as a line of JSON. One browser for all of them, a fresh
// profile for each.
//
// Environment: MODULES (node_modules), CHROMIUM, OUT (artefacts), QUESTION (wav: what the microphone
// hears), SAMPLE (a recording to upload). The steps are the functions of steps.mjs.

import { join } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

import { Browser, shot } from "./browser.mjs";
import { steps } from "./steps.mjs";

const { MODULES, CHROMIUM, QUESTION } = process.env;
const { chromium } = await import(pathToFileURL(join(MODULES, "playwright-core/index.mjs")).href);
const args = [
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
  "--host-resolver-rules=MAP house.test 127.0.0.1", // an address that is not this machine's own
  "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
  `--use-file-for-fake-audio-capture=${QUESTION}%noloop`,
];
const running = await chromium.launch({ executablePath: CHROMIUM, args });

/** @returns what came of the step, or {failed, troubles}. */
const take = async ({ step, url }) => {
  const context = await running.newContext({ viewport: { width: 1200, height: 820 } });
  context.setDefaultTimeout(Number(process.env.PATIENCE_MS ?? 60_000));
  const browser = new Browser(context, url);
  try {
    return { ...(await steps[step](browser)), troubles: browser.troubles };
  } catch (error) {
    for (const page of context.pages()) await shot(page, `failed-${step}`).catch(() => {});
    return { failed: String(error.stack ?? error), troubles: browser.troubles };
  } finally {
    await context.close();
  }
};

for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await take(JSON.parse(line))));
}
await running.close();
