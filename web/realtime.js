// The public wire protocol and nothing else: JSON events over one websocket.

const toBase64 = (pcm) => {
  const bytes = new Uint8Array(pcm.buffer, pcm.byteOffset, pcm.byteLength);
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) {
    text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  }
  return btoa(text);
};

export const fromBase64 = (text) => {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return new Int16Array(bytes.buffer);
};

// Fires one event for each server event, named by its type, with the object as `detail`;
// and "open", "close".
export class RealtimeClient extends EventTarget {
  constructor(url, key) {
    super();
    this.url = url;
    this.protocols = key ? ["realtime", `openai-insecure-api-key.${key}`] : ["realtime"];
    this.socket = null;
  }

  get open() {
    return this.socket?.readyState === WebSocket.OPEN;
  }

  connect() {
    const socket = new WebSocket(this.url, this.protocols);
    this.socket = socket;
    const tell = (name, detail) => {
      if (socket === this.socket) this.dispatchEvent(new CustomEvent(name, { detail }));
    };
    socket.onopen = () => tell("open");
    socket.onclose = ({ code, reason }) => tell("close", { code, reason });
    socket.onmessage = ({ data }) => {
      const event = JSON.parse(data);
      tell(event.type, event);
    };
  }

  send(type, fields = {}) {
    if (this.open) this.socket.send(JSON.stringify({ type, ...fields }));
  }

  update(session) {
    this.send("session.update", { session: { type: "realtime", ...session } });
  }

  append(pcm) {
    this.send("input_audio_buffer.append", { audio: toBase64(pcm) });
  }

  commit() {
    this.send("input_audio_buffer.commit");
    this.send("response.create");
  }

  ask(text) {
    const content = [{ type: "input_text", text }];
    this.send("conversation.item.create", { item: { type: "message", role: "user", content } });
    this.send("response.create");
  }

  // Stop the answer and tell the server how much of it was heard.
  interrupt(itemId, playedMs, running) {
    if (running) this.send("response.cancel");
    if (itemId) {
      this.send("conversation.item.truncate", {
        item_id: itemId, content_index: 0, audio_end_ms: playedMs,
      });
    }
  }
}
