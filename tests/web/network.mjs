// A network worse than loopback, between the page and its server.

import { createConnection, createServer } from "node:net";

/**
 * A line to the server of `base` that breaks without a word, at any byte.
 * @returns {Promise<{url: string, breakAfter: (bytes: number) => void, breaks: () => number, close: () => void, end: () => void}>}
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
        end: () => { // as if the server's process were gone
          proxy.close();
          for (const end of ends) end.destroy();
        },
      }));
  });
};
