// A person's sitting with one project: the tasks at hand, what was done, and how to take it back. No elements here.
//
// A task belongs to one tab of the browser at a time. What is judged goes to the outbox and the next task is there
// already, so nothing waits for the network.

import { newKey } from "./outbox.js";
import { Trouble } from "./api.js";

const AHEAD = 4;
const WAIT = 100; // ms
const IDLE = 120; // seconds without a key, pointer or scroll are not counted beyond this

export class Sitting {
  #queue = []; #last = null; #fetching = null; #undoKey = null; #channel = null;

  constructor({ api, outbox, drafts, project, taken = () => {} }) {
    Object.assign(this, { api, outbox, drafts, project, taken });
    this.path = `/api/projects/${encodeURIComponent(project)}`;
    this.current = null;
    this.history = []; // { task, draft, entry, words, seconds, at }
    this.done = new Set();
    for (const { event } of outbox.waiting) {
      if (event.kind === "undo") this.done.delete(event.task);
      else if (event.kind !== "flag") this.done.add(event.task);
    }
    this.progress = null;
    this.locks = new TaskLocks(`steersman task ${api.person} ${project}`);
    this.clock = new Clock();
    this.#listen();
  }

  // The next task, or null where nothing is left. Throws a Trouble where the studio cannot be asked.
  async next() {
    await this.#leave();
    for (;;) {
      while (this.#queue.length) {
        const task = this.#queue.shift();
        if (!this.done.has(task.id) && (await this.locks.take(task.id))) return this.#begin(task);
      }
      await this.outbox.flush(); // so that the studio counts what was judged, and does not send it again
      if (!(await this.#fetch())) return null;
    }
  }

  // Ask for tasks while there is something to do, so that the next one is there in time.
  async fill() {
    if (this.#queue.length >= AHEAD || this.#fetching) return;
    await this.more();
  }

  // Whether the studio has another task now; also not, if it cannot be asked.
  more() {
    return this.#fetch().catch((trouble) => {
      if (!(trouble instanceof Trouble)) throw trouble;
      return false;
    });
  }

  #begin(task) {
    this.current = task;
    this.clock.start(this.drafts.read(task.id)?.seconds || 0);
    this.fill();
    return task;
  }

  async #leave() {
    if (this.current) await this.locks.release(this.current.id);
    this.current = null;
  }

  // Whether the studio had another task for this tab.
  #fetch() {
    this.#fetching ??= this.#ask().finally(() => { this.#fetching = null; });
    return this.#fetching;
  }

  async #ask() {
    let after = this.#queue.at(-1)?.id ?? this.current?.id ?? this.#last;
    for (;;) {
      const reply = await this.api.get(`${this.path}/tasks/next?ahead=${AHEAD}${after ? `&after=${after}` : ""}`);
      if (String(reply.person) !== String(this.api.person)) throw new Trouble("other_person");
      this.#count(reply.progress);
      this.#last = after = reply.tasks.at(-1)?.id ?? null;
      if (after === null) return false;
      const known = new Set([...this.done, ...this.#queue.map((task) => task.id), this.current?.id]);
      const fresh = reply.tasks.filter((task) => !known.has(task.id));
      this.#queue.push(...fresh);
      if (fresh.length) return true;
    }
  }

  // What the studio has counted, and what waits to be sent.
  #count(counted) {
    const waiting = this.outbox.waiting.filter((entry) => isJudgement(entry.event)).length;
    const left = counted.mine_left;
    this.progress = { done: counted.done + waiting, left: left === null ? null : Math.max(0, left - waiting), skipped: counted.skipped };
  }

  // Something about the current task that ends it: a label or a skip. Kept before this returns.
  finish(kind, fields, words) {
    const task = this.current;
    const seconds = this.clock.seconds;
    const event = { key: newKey(), kind, task: task.id, seconds, ...fields };
    const entry = this.outbox.add(event);
    this.history.push({ task, draft: this.drafts.read(task.id), entry, words, seconds, at: Date.now() });
    this.drafts.write(task.id, null);
    this.done.add(task.id);
    if (this.progress) {
      this.progress.done += isJudgement(event) ? 1 : 0;
      if (this.progress.left) this.progress.left -= 1;
    }
    this.#channel?.postMessage({ ...this.#address, done: task.id });
  }

  // What was skipped is asked for again: it is no longer done.
  forgetSkips() {
    for (const { task, entry } of this.history) {
      if (entry.event.kind === "skip" || entry.event.choice === "cannot_judge") this.done.delete(task.id);
    }
    this.#last = null;
  }

  // Something said about the current task, which goes on: a flag or a comment.
  remark(kind, text) {
    this.outbox.add({ key: newKey(), kind, task: this.current.id, text });
  }

  // Take back the last act: of this sitting, or an earlier one. Returns { task, words }, or null if there is none.
  async undo() {
    const last = this.history.pop();
    if (!last) return this.#undoEarlier();
    const unsent = this.outbox.refused.find((entry) => entry.name === last.entry.name);
    if (unsent) this.outbox.forget(unsent);
    else this.outbox.add({ key: newKey(), kind: "undo", task: last.task.id });
    if (last.draft) this.drafts.write(last.task.id, last.draft);
    if (this.progress) {
      this.progress.done -= isJudgement(last.entry.event) ? 1 : 0;
      if (this.progress.left !== null) this.progress.left += 1;
    }
    return this.#back(last.task, last.words);
  }

  async #undoEarlier() {
    await this.outbox.flush();
    this.#undoKey ??= newKey(); // the same after a lost connection: one undo, not two
    let reply;
    try {
      reply = await this.api.post(`${this.path}/events`, { key: this.#undoKey, kind: "undo" });
    } catch (trouble) {
      if (trouble.kind === "offline" || trouble.kind === "busy") throw trouble;
      this.#undoKey = null;
      if (trouble.status === 409) return null;
      throw trouble;
    }
    this.#undoKey = null;
    const held = reply.task && reply.undone.kind !== "flag";
    return held ? this.#back(reply.task, "") : { task: null, words: reply.undone.kind };
  }

  async #back(task, words) {
    this.done.delete(task.id);
    this.#channel?.postMessage({ ...this.#address, undone: task.id });
    const before = this.current;
    await this.#leave();
    if (before && before.id !== task.id) this.#queue.unshift(before);
    this.#queue = this.#queue.filter((one) => one.id !== task.id);
    await this.locks.take(task.id);
    return { task: this.#begin(task), words };
  }

  // Seconds that the work so far took in the middle, and how many of them fit in an hour.
  get pace() {
    const seconds = this.history.map((one) => one.seconds).sort((one, other) => one - other);
    if (seconds.length < 5) return null;
    const middle = Math.max(1, seconds[seconds.length >> 1]);
    return { hourly: Math.round(3600 / middle), left: this.progress?.left ? this.progress.left * middle : null };
  }

  get #address() {
    return { person: this.api.person, project: this.project };
  }

  #listen() {
    if (!("BroadcastChannel" in globalThis)) return;
    this.#channel = new BroadcastChannel("steersman");
    this.#channel.addEventListener("message", ({ data }) => {
      if (data.person !== this.api.person || data.project !== this.project) return;
      if (data.undone) this.done.delete(data.undone);
      if (!data.done) return;
      this.done.add(data.done);
      if (this.current?.id === data.done) this.taken();
    });
  }
}

export function isJudgement(event) {
  return event.kind === "label" && event.choice !== "cannot_judge";
}

// Which tab has which task. The browser frees a closed tab's locks; without locks (plain http) tabs are not told apart.
class TaskLocks {
  #held = new Map(); #patience = 6;

  constructor(name) {
    this.name = name;
    addEventListener("pagehide", () => this.#held.forEach((lock) => lock.release()));
    addEventListener("pageshow", (event) => event.persisted && location.reload());
  }

  async take(id) {
    if (!navigator.locks || this.#held.has(id)) return true;
    // After a reload, the page before may hold its task for a moment.
    for (; this.#patience > 0 && !(await this.#try(id)); this.#patience -= 1) {
      await new Promise((wake) => setTimeout(wake, WAIT));
    }
    const taken = this.#held.has(id) || (await this.#try(id));
    if (taken) this.#patience = 0;
    return taken;
  }

  #try(id) {
    return new Promise((resolve, reject) => {
      const kept = navigator.locks.request(`${this.name} ${id}`, { ifAvailable: true }, (lock) => {
        if (lock === null) return resolve(false);
        return new Promise((release) => {
          this.#held.set(id, { release, kept });
          resolve(true);
        });
      });
      kept.catch(reject);
    });
  }

  async release(id) {
    const lock = this.#held.get(id);
    this.#held.delete(id);
    lock?.release();
    await lock?.kept;
  }
}

// Seconds that somebody looked at a task: not while the page is hidden, nor long after the last sign of life.
class Clock {
  #sum = 0; #since = null;

  constructor() {
    for (const name of ["keydown", "pointerdown", "pointermove", "scroll", "wheel", "touchstart"]) {
      document.addEventListener(name, () => this.#tick(), { passive: true, capture: true });
    }
    document.addEventListener("visibilitychange", () => this.#tick());
  }

  start(seconds) {
    this.#sum = seconds;
    this.#since = performance.now() / 1000;
  }

  #tick() {
    const now = performance.now() / 1000;
    if (this.#since === null) return;
    this.#sum += Math.min(now - this.#since, IDLE);
    this.#since = document.visibilityState === "hidden" ? null : now;
    if (this.#since === null) {
      const back = () => { this.#since = performance.now() / 1000; };
      document.addEventListener("visibilitychange", back, { once: true });
    }
  }

  get seconds() {
    this.#tick();
    return Math.round(this.#sum * 100) / 100;
  }
}
