// The public wire protocol and nothing else: JSON events over one websocket.

/** A server event: `type`, and what the protocol says of it. @typedef {Record<string, any>} Event */

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15000;

/** @param {Int16Array} pcm @returns {string} */
export const toBase64 = (pcm) => {
  const bytes = new Uint8Array(pcm.buffer, pcm.byteOffset, pcm.byteLength);
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) {
    text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  }
  return btoa(text);
};

/** @param {string} text @returns {Int16Array} */
export const fromBase64 = (text) => {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return new Int16Array(bytes.buffer);
};

/**
 * Fires one event for each server event, named by its type, with the object as `detail`; and
 * "open", "close" with `{code, reason, retryMs}`. A lost connection is made again by itself; what
 * was said before is the caller's to repeat, by `restore`.
 */
export class RealtimeClient extends EventTarget {
  /** @param {string} url @param {string | null} key */
  constructor(url, key) {
    super();
    this.url = url;
    this.protocols = key ? ["realtime", `openai-insecure-api-key.${key}`] : ["realtime"];
    /** @type {WebSocket | null} */
    this.socket = null;
    this.waitMs = FIRST_WAIT_MS;
  }

  get open() {
    return this.socket?.readyState === WebSocket.OPEN;
  }

  /** @param {string} type @param {(event: Event) => void} handle */
  on(type, handle) {
    this.addEventListener(type, (event) => handle(/** @type {CustomEvent} */ (event).detail));
  }

  connect() {
    const socket = new WebSocket(this.url, this.protocols);
    this.socket = socket;
    /** @param {string} name @param {Event} detail */
    const tell = (name, detail) => {
      if (socket === this.socket) this.dispatchEvent(new CustomEvent(name, { detail }));
    };
    socket.onopen = () => tell("open", {});
    socket.onclose = ({ code, reason }) => {
      const retryMs = this.waitMs;
      this.waitMs = Math.min(LONGEST_WAIT_MS, 2 * retryMs);
      tell("close", { code, reason, retryMs });
      setTimeout(() => socket === this.socket && this.connect(), retryMs);
    };
    socket.onmessage = ({ data }) => {
      const event = JSON.parse(data);
      if (event.type === "session.created") this.waitMs = FIRST_WAIT_MS;
      tell(event.type, event);
    };
  }

  /** @param {string} type @param {Event} [fields] */
  send(type, fields = {}) {
    if (this.open) this.socket?.send(JSON.stringify({ type, ...fields }));
  }

  /** @param {Event} session what changes */
  update(session) {
    this.send("session.update", { session: { type: "realtime", ...session } });
  }

  /** @param {Int16Array} pcm 24 kHz */
  append(pcm) {
    this.send("input_audio_buffer.append", { audio: toBase64(pcm) });
  }

  commit() {
    this.send("input_audio_buffer.commit");
    this.send("response.create");
  }

  /** @param {string} text */
  ask(text) {
    this.tell("user", text);
    this.send("response.create");
  }

  /** @param {"user" | "assistant"} role @param {string} text */
  tell(role, text) {
    const content = [{ type: role === "user" ? "input_text" : "output_text", text }];
    this.send("conversation.item.create", { item: { type: "message", role, content } });
  }

  /** Stop a response that is under way. */
  cancel() {
    this.send("response.cancel");
  }

  /** @param {string} itemId @param {number} heardMs how much of the answer was heard */
  truncate(itemId, heardMs) {
    const fields = { item_id: itemId, content_index: 0, audio_end_ms: heardMs };
    this.send("conversation.item.truncate", fields);
  }
}
