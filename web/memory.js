// What the browser keeps for this page. Where it keeps nothing (storage barred, or full), the page
// works without a memory.

/** @param {() => Storage} storage */
const memory = (storage) => ({
  /** @param {string} name @returns {string | null} */
  get(name) {
    try {
      return storage().getItem(name);
    } catch {
      return null; // barred
    }
  },

  /** @param {string} name @param {string | null} text null forgets it */
  set(name, text) {
    try {
      if (text === null) storage().removeItem(name);
      else storage().setItem(name, text);
    } catch {
      // Barred or full: it is as if nobody had asked.
    }
  },

  /** @param {string} name @param {any} otherwise @returns {any} what was kept there as JSON */
  read(name, otherwise) {
    try {
      return JSON.parse(this.get(name) ?? "null") ?? otherwise;
    } catch {
      return otherwise; // not ours
    }
  },
});

/** Until the tab is closed. */
export const tabMemory = memory(() => sessionStorage);
/** For good. */
export const pageMemory = memory(() => localStorage);
