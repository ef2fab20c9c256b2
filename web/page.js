// The page's elements, and the few things every part of it does with them.

/** @template {HTMLElement} [T=HTMLElement] @param {string} id @returns {T} */
export const $ = (id) => {
  const node = document.getElementById(id);
  if (!node) throw new Error(`the page has no #${id}`);
  return /** @type {T} */ (node);
};

export const key = new URLSearchParams(location.hash.slice(1)).get("key");

/** Ask the server, with the key if there is one. @param {string} path @param {RequestInit} [init] */
export const ask = async (path, init = {}) => {
  const headers = new Headers(init.headers);
  if (key) headers.set("Authorization", `Bearer ${key}`);
  const reply = await fetch(path, { ...init, headers });
  if (reply.ok) return reply;
  const body = await reply.json().catch(() => null);
  throw new Error(body?.error?.message ?? `the server answered ${reply.status}`);
};

/** @param {string} tag @param {string} [name] class @param {string} [text] */
export const element = (tag, name = "", text = "") => {
  const node = document.createElement(tag);
  if (name) node.className = name;
  if (text) node.textContent = text;
  return node;
};

/** @param {string} text @param {"" | "busy" | "live" | "error"} [kind] */
export const show = (text, kind = "") => {
  $("status").textContent = text;
  $("status").dataset.kind = kind;
};

/** Fill the voice lists; "voices" tells the document what is in them. @returns {Promise<void>} */
export const loadVoices = async () => {
  /** @type {{voices: {id: string, name: string}[]}} */
  const { voices = [] } = await (await ask("/v1/audio/voices")).json();
  for (const id of ["voice", "studio-voice"]) {
    const list = /** @type {HTMLSelectElement} */ ($(id));
    const chosen = list.value;
    list.replaceChildren(...voices.map((voice) => new Option(voice.name, voice.id)));
    if (!chosen || chosen === list.value) continue;
    if (voices.some((voice) => voice.id === chosen)) list.value = chosen;
    else list.dispatchEvent(new Event("change")); // it was removed: now it is the first one
  }
  document.dispatchEvent(new CustomEvent("voices", { detail: voices }));
};

/** Fill the list of role cards with those that this model plays; "roles" tells when it is done. */
export const loadRoles = async () => {
  /** @type {{data: {id: string, title: string, applied: boolean}[]}} */
  const { data = [] } = await (await ask("/v1/roles")).json();
  const list = /** @type {HTMLSelectElement} */ ($("role-card"));
  const played = data.filter((card) => card.applied).map((card) => new Option(card.title, card.id));
  list.append(...played);
  document.dispatchEvent(new CustomEvent("roles"));
};
