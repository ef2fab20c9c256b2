// The public wire protocol and nothing else: JSON events over one websocket.

/** A server event: `type`, and what the protocol says of it. @typedef {Record<string, any>} Event */

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15000;
const MOST_WAITING = 500; // messages kept: ten seconds of sound
const REFUSED = 1008;

/** Whether the server answers at all. */
const reachable = () => fetch("/healthz").then((reply) => reply.ok, () => false);

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
 * "open", "close" with `{code, retryMs, resuming, asleep}`.
 *
 * A lost connection is made again by itself. While the server keeps the session ("resuming") what
 * is sent waits, and "session.resumed" goes on where it was: nothing is lost, nothing comes twice.
 * When the session is gone, "session.created" begins another one, and what was said is the
 * caller's to repeat. A session that ended because nobody spoke is "asleep" until `wake`.
 */
export class RealtimeClient extends EventTarget {
  /**
   * @param {string} url
   * @param {(() => Promise<string>) | null} secret asks for a key for one session; null: none is needed
   */
  constructor(url, secret) {
    super();
    this.url = url;
    this.secret = secret;
    /** @type {string[]} */
    this.key = []; // as a subprotocol, for the session there is
    /** @type {WebSocket | null} */
    this.socket = null;
    this.waitMs = FIRST_WAIT_MS;
    this.asleep = false;
    this.ready = false; // what is sent goes out at once
    this.token = ""; // of the session; "" when it cannot be resumed
    this.lastEvent = "";
    /** @type {string[]} messages that may have to be sent again, oldest first */
    this.sent = [];
    this.count = 0; // messages of this session so far
    this.ending = ""; // why the server said that it will end the session
    this.expired = false;
  }

  get open() {
    return this.ready && this.socket?.readyState === WebSocket.OPEN;
  }

  /** Whether the person may begin something: at once, or after `wake`. */
  get usable() {
    return this.open || this.asleep;
  }

  /** @param {string} type @param {(event: Event) => void} handle */
  on(type, handle) {
    this.addEventListener(type, (event) => handle(/** @type {CustomEvent} */ (event).detail));
  }

  connect() {
    this.asleep = false;
    if (!this.secret || this.token) return this.dial();
    // A session of its own asks for a key of its own. Without an answer the socket is tried all the
    // same: it fails, and tries again later.
    return this.secret()
      .then((secret) => (this.key = [`openai-insecure-api-key.${secret}`]))
      .catch(() => (this.key = []))
      .then(() => this.dial());
  }

  dial() {
    const resume = this.token ? `step-audio-resume.${this.token}.${this.lastEvent}` : "step-audio-resume";
    const socket = new WebSocket(this.url, ["realtime", ...this.key, resume]);
    this.socket = socket;
    let opened = false;
    socket.onopen = () => {
      if (socket !== this.socket) return;
      opened = true;
      if (!this.token) this.begin();
      this.fire("open", {});
    };
    socket.onclose = ({ code }) => {
      if (socket === this.socket) this.closed(code, opened);
    };
    socket.onmessage = ({ data }) => {
      if (socket === this.socket) this.receive(JSON.parse(data));
    };
  }

  /** A session of its own begins. */
  begin() {
    this.sent = [];
    this.count = 0;
    this.lastEvent = "";
    this.ending = "";
    this.expired = false;
    this.ready = true;
  }

  /** @param {Event} event */
  receive(event) {
    if (event.type === "session.resumable") this.token = event.token;
    if (event.type === "session.resumed") this.resumed(event.received);
    else this.lastEvent = event.event_id;
    if (event.type === "session.created" || event.type === "session.resumed") this.waitMs = FIRST_WAIT_MS;
    if (event.type === "session.expiring") this.ending = event.reason;
    if (event.type === "error" && event.error.code === "session_expired") this.expired = true;
    this.fire(event.type, event);
  }

  /** @param {number} received how many messages of this session had arrived */
  resumed(received) {
    const first = this.count - this.sent.length;
    this.sent = this.sent.slice(Math.max(0, received - first));
    this.count = received + this.sent.length; // what found no room in a long silence never arrives
    this.ready = true;
    for (const text of this.sent) this.socket?.send(text);
  }

  /** @param {number} code @param {boolean} opened */
  closed(code, opened) {
    this.ready = false;
    if (this.expired || code === REFUSED) this.token = "";
    this.asleep = this.expired && this.ending === "idle";
    const retryMs = this.waitMs;
    this.waitMs = Math.min(LONGEST_WAIT_MS, Math.max(FIRST_WAIT_MS, 2 * retryMs));
    this.fire("close", { code, opened, retryMs, resuming: Boolean(this.token), asleep: this.asleep });
    if (this.asleep) return;
    const socket = this.socket;
    setTimeout(async () => {
      // Browsers do not tell a refusal from a dead line, but a server that answers this and not
      // the socket has no such session.
      if (this.token && !opened && (await reachable())) this.token = "";
      if (socket === this.socket) this.connect();
    }, retryMs);
  }

  /** Resolves with a session: the one there is, the same again, or a new one. @returns {Promise<void>} */
  wake() {
    if (this.open) return Promise.resolve();
    return new Promise((done) => {
      for (const type of ["session.created", "session.resumed"]) {
        this.addEventListener(type, () => done(), { once: true });
      }
      if (this.asleep) this.connect();
    });
  }

  /** Leave this session for a new one. */
  renew() {
    this.token = "";
    this.waitMs = 0;
    this.socket?.close(1000);
  }

  /** @param {string} name @param {Event} detail */
  fire(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  /** @param {string} type @param {Event} [fields] */
  send(type, fields = {}) {
    if (!this.ready && !this.token) return;
    const text = JSON.stringify({ type, ...fields });
    this.count += 1;
    this.sent.push(text);
    if (this.sent.length > MOST_WAITING) this.sent.shift();
    if (this.open) this.socket?.send(text);
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
