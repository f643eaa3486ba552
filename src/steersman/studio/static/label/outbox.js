// What this person did and the studio has not acknowledged yet. Each event is written to the browser's storage before
// the page goes on, under a key of its own: the studio takes each key once, so sending again is always safe.
//
// An event belongs to who was signed in. It is sent in order, by one tab at a time, and forgotten when acknowledged.

import { Trouble } from "./api.js";

const PREFIX = "steersman:outbox:";
const FIRST_WAIT = 1000, LONGEST_WAIT = 30000, AT_ONCE = 50;

export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

// All entries of this browser, oldest first; of one person, if named.
export function entriesIn(storage, person = null) {
  const names = Object.keys(storage).filter((name) => name.startsWith(PREFIX));
  const entries = names.map((name) => ({ name, ...JSON.parse(storage.getItem(name)) }));
  const wanted = entries.filter((entry) => person === null || String(entry.person) === String(person));
  return wanted.sort((one, other) => one.at - other.at || (one.name < other.name ? -1 : 1));
}

export class Outbox {
  #api; #storage; #memory = new Map(); #last = 0; #wait = FIRST_WAIT; #timer = null; #sending = null;

  // `heard(entry, reply)` follows each acknowledgement, `changed()` each change of what is waiting or of `state`.
  constructor({ api, storage, project = null, heard = () => {}, changed = () => {} }) {
    this.#api = api;
    this.#storage = storage;
    Object.assign(this, { project, heard, changed, state: "idle", told: "" });
  }

  get all() {
    const kept = entriesIn(this.#storage, this.#api.person);
    return [...kept, ...this.#memory.values()].filter((entry) => !this.project || entry.project === this.project);
  }

  get waiting() {
    return this.all.filter((entry) => !entry.refused);
  }

  get refused() {
    return this.all.filter((entry) => entry.refused);
  }

  get kept() {
    return this.#memory.size === 0; // whether everything is in storage, and survives a reload
  }

  add(event) {
    const at = (this.#last = Math.max(Date.now(), this.#last + 1));
    const entry = { person: this.#api.person, project: this.project, at, event };
    entry.name = `${PREFIX}${entry.person}:${entry.project}:${at}:${event.key}`;
    this.#keep(entry);
    this.changed();
    this.flush();
    return entry;
  }

  forget(entry) {
    this.#storage.removeItem(entry.name);
    this.#memory.delete(entry.name);
    this.changed();
  }

  retryRefused() {
    for (const entry of this.refused) this.#keep({ ...entry, refused: "" });
    return this.flush();
  }

  // Send what waits. Resolves when nothing is left or nothing can be sent now.
  flush() {
    clearTimeout(this.#timer);
    this.#sending ??= exclusively(`steersman outbox ${this.#api.person}`, () => this.#sendAll()).finally(() => {
      this.#sending = null;
      this.changed();
      if (this.state === "idle" && this.waiting.length) this.flush(); // added while the last reply came
    });
    return this.#sending;
  }

  #keep(entry) {
    const { name, ...rest } = entry;
    try {
      this.#storage.setItem(name, JSON.stringify(rest));
      this.#memory.delete(name);
    } catch {
      this.#memory.set(name, entry); // the storage is full or forbidden: kept as long as the page is open
    }
  }

  async #sendAll() {
    for (;;) {
      const first = this.waiting[0];
      if (!first) return this.#rest("idle");
      const group = this.waiting.filter((entry) => entry.project === first.project).slice(0, AT_ONCE);
      this.#rest("sending");
      try {
        await this.#send(group);
        this.#wait = FIRST_WAIT;
      } catch (trouble) {
        if (!(trouble instanceof Trouble)) throw trouble;
        return this.#later(trouble);
      }
    }
  }

  async #send(group) {
    const path = `/api/projects/${encodeURIComponent(group[0].project)}/events`;
    try {
      const alone = group.length === 1;
      const sent = alone ? group[0].event : group.map((entry) => entry.event);
      const reply = await this.#api.post(alone ? path : `${path}/batch`, sent);
      group.forEach((entry, i) => this.#settle(entry, alone ? reply : reply[i]));
    } catch (trouble) {
      if (trouble.kind !== "refused") throw trouble;
      if (group.length === 1) this.#settle(group[0], { error: { message: trouble.message } });
      else for (const entry of group) await this.#send([entry]); // one of them spoils the batch
    }
  }

  #settle(entry, reply) {
    if (reply.error) {
      this.#keep({ ...entry, refused: reply.error.message || "the studio did not say why" });
      return;
    }
    this.forget(entry);
    this.heard(entry, reply);
  }

  #later(trouble) {
    const waits = { busy: trouble.after, signed_out: null, other_person: null };
    this.#rest(trouble.kind, trouble.message);
    if (waits[trouble.kind] === null) return; // somebody has to sign in first
    this.#timer = setTimeout(() => this.flush(), Math.max(this.#wait, waits[trouble.kind] || 0));
    this.#wait = Math.min(2 * this.#wait, LONGEST_WAIT);
  }

  #rest(state, told = "") {
    Object.assign(this, { state, told });
    this.changed();
  }
}

// Run alone among the tabs of this browser. Without locks (plain http) tabs may send twice, which does no harm.
function exclusively(name, work) {
  return navigator.locks ? navigator.locks.request(name, work) : work();
}
