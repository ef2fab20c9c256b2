// Networks worse than loopback, between the page and its server.

import { createConnection, createServer } from "node:net";

/**
 * Each message with sound up to `mostMs` later than it would be heard; the rest in order behind it.
 * The page's `heard.latestMs` tells how late it reached the speakers in truth.
 */
export const jitter = async (page, mostMs) => {
  let seed = 7;
  const chance = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
  await page.routeWebSocket(/realtime/, (socket) => {
    const server = socket.connectToServer();
    let soundMs = 0;
    let begunAt = 0;
    let last = Promise.resolve();
    server.onMessage((message) => {
      const event = JSON.parse(message);
      if (event.type === "response.created") soundMs = begunAt = 0;
      const sound = event.type === "response.output_audio.delta";
      if (sound) begunAt ||= Date.now();
      const dueAt = begunAt ? begunAt + soundMs + mostMs * chance() : 0;
      if (sound) soundMs += (event.delta.length * 3) / 4 / 48;
      last = last
        .then(() => new Promise((done) => setTimeout(done, dueAt - Date.now())))
        .then(() => socket.send(message));
    });
    socket.onMessage((message) => server.send(message));
  });
};

/**
 * A line to the server of `base` that breaks without a word, at any byte.
 * @returns {Promise<{url: string, breakAfter: (bytes: number) => void, breaks: () => number, close: () => void}>}
 */
export const frail = (base) => {
  let left = Infinity;
  let breaks = 0;
  const ends = new Set();
  const proxy = createServer((near) => {
    const far = createConnection({ host: "127.0.0.1", port: Number(new URL(base).port) });
    for (const end of [near, far]) {
      ends.add(end);
      end.on("error", () => {});
      end.on("close", () => { near.destroy(); far.destroy(); });
    }
    near.pipe(far);
    far.on("data", (data) => {
      left -= data.length;
      if (left > 0) {
        near.write(data);
        return;
      }
      left = Infinity;
      breaks += 1;
      for (const end of ends) end.destroy();
      ends.clear();
    });
  });
  return new Promise((done) => {
    proxy.listen(0, "127.0.0.1", () =>
      done({
        url: `http://127.0.0.1:${proxy.address().port}/`,
        breakAfter: (bytes) => { left = bytes; },
        breaks: () => breaks,
        close: () => proxy.close(),
      }));
  });
};
