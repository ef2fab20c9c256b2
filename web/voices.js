// The voices that people added to this server, and how to take one away again.

import { $, ask, element } from "./page.js";

/** @typedef {{id: string, name: string, built_in?: boolean, created_at?: number}} Voice */

/** @param {string} text @param {boolean} [error] */
const say = (text, error = false) => {
  $("voices-status").textContent = text;
  $("voices-status").dataset.kind = error ? "error" : "";
};

export class AddedVoices {
  /** @param {() => Promise<unknown>} reload asks the server which voices there are */
  constructor(reload) {
    this.reload = reload;
    this.wanted = ""; // to be removed, once it is confirmed
    const dialog = /** @type {HTMLDialogElement} */ ($("remove-dialog"));
    document.addEventListener("voices", (event) => this.list(/** @type {CustomEvent} */ (event).detail));
    dialog.addEventListener("close", () => {
      if (dialog.returnValue === "remove") this.remove().catch((error) => say(error.message, true));
    });
  }

  /** @param {Voice[]} voices */
  list(voices) {
    const added = voices.filter((voice) => voice.built_in === false);
    $("voices").hidden = !added.length && !$("voices-status").textContent;
    $("voices-list").replaceChildren(...added.map((voice) => this.row(voice)));
  }

  /** @param {Voice} voice @returns {HTMLElement} */
  row({ id, name, created_at: createdS }) {
    const row = element("li");
    const button = element("button", "", "Remove");
    button.setAttribute("type", "button");
    button.setAttribute("aria-label", `Remove ${name}`);
    button.addEventListener("click", () => this.confirm(id));
    const since = createdS ? new Date(1000 * createdS).toLocaleDateString() : "";
    row.append(element("span", "name", name), element("small", "soft", since), button);
    return row;
  }

  /** @param {string} id */
  confirm(id) {
    this.wanted = id;
    $("remove-name").textContent = id;
    const dialog = /** @type {HTMLDialogElement} */ ($("remove-dialog"));
    dialog.returnValue = "";
    dialog.showModal(); // the focus is on what changes nothing, and returns from where it came
  }

  async remove() {
    const id = this.wanted;
    say(`Removing ${id}…`);
    await ask(`/v1/audio/voices/${encodeURIComponent(id)}`, { method: "DELETE" });
    say(`${id} was removed, and its files are erased.`);
    const other = $("voice-status"); // what went wrong with a voice before is over
    if (other.dataset.kind === "error") other.textContent = "";
    await this.reload();
    $("voices-heading").focus(); // the button is gone
  }
}
