// The labelling page: joins the sitting (tasks, undo), the outbox (what is sent) and the desk (what is on the screen).

import { Api, Trouble } from "./api.js";
import { Desk } from "./desk.js";
import { Drafts } from "./drafts.js";
import { Keys, showKeys } from "./keys.js";
import { Notices } from "./notices.js";
import { Outbox, newKey } from "./outbox.js";
import { Sitting, isJudgement } from "./sitting.js";
import { emptyState } from "./conversation.js";
import { button, make, plural } from "./elements.js";
import { practise } from "./practice.js";

const BREAK_AFTER = 40; // judgements
const LOOK_EVERY = 10 * 1000; // ms
const RENEW_EVERY = 8 * 60 * 1000; // ms; a task is held for half an hour
const meta = (name) => document.querySelector(`meta[name="${name}"]`)?.content || "";
const part = (id) => document.getElementById(id);

class Page {
  #breakAt = BREAK_AFTER; #waiting = false; #turn = Promise.resolve();

  constructor() {
    const names = { task: "task", title: "task-title", bar: "bar", verdicts: "verdicts", tools: "tools", note: "note" };
    this.parts = Object.fromEntries(Object.entries(names).map(([name, id]) => [name, part(id)]));
    this.parts.noteField = part("note-field");
    this.project = document.body.dataset.project;
    this.api = new Api({ csrf: meta("csrf"), person: meta("person") });
    this.notices = new Notices({ status: part("connection"), banners: part("banners"), toasts: part("toasts") });
    this.keys = new Keys();
    this.outbox = new Outbox({
      api: this.api,
      storage: localStorage,
      project: this.project,
      heard: (entry, reply) => this.#heard(entry, reply),
      changed: () => this.#changed(),
    });
    this.drafts = new Drafts({ storage: localStorage, person: this.api.person, project: this.project });
    this.sitting = new Sitting({
      api: this.api,
      outbox: this.outbox,
      drafts: this.drafts,
      project: this.project,
      taken: () => this.#taken(),
    });
  }

  async start() {
    this.#listen();
    try {
      this.about = await this.api.get(this.sitting.path);
    } catch (trouble) {
      if (!(trouble instanceof Trouble)) throw trouble;
      return this.#cannotStart(trouble, () => this.start());
    }
    this.desk = new Desk({
      parts: this.parts,
      keys: this.keys,
      project: this.about,
      drafts: this.drafts,
      sitting: this.sitting,
      done: (kind, fields, words) => this.#done(kind, fields, words),
      said: (words, tone) => this.notices.say(words, tone),
      undo: () => this.undo(),
    });
    this.outbox.flush();
    try {
      if (!(await practise({ page: this, about: this.about }))) return undefined;
    } catch (trouble) {
      if (!(trouble instanceof Trouble)) throw trouble;
      return this.#cannotStart(trouble, () => this.start());
    }
    return this.next();
  }

  // One after the other: whoever presses two keys at once means them in their order.
  #inTurn(work) {
    this.#turn = this.#turn.catch(() => {}).then(work);
    return this.#turn;
  }

  next() {
    return this.#inTurn(() => this.#next());
  }

  undo() {
    return this.#inTurn(() => this.#undo());
  }

  // Show the next task, or say why there is none.
  async #next() {
    let task;
    try {
      task = await this.sitting.next();
    } catch (trouble) {
      if (!(trouble instanceof Trouble)) throw trouble;
      this.desk.clear();
      this.#progress();
      return this.#cannotStart(trouble, () => this.next());
    }
    this.#progress();
    this.#waiting = task === null;
    if (task) return this.desk.show(task);
    this.desk.clear();
    return this.show(this.#nothingLeft());
  }

  async #undo() {
    let back;
    try {
      back = await this.sitting.undo();
    } catch (trouble) {
      if (!(trouble instanceof Trouble)) throw trouble;
      const offline = trouble.kind === "offline";
      return this.notices.say(offline ? "Undoing earlier work needs a connection." : trouble.message, "bad");
    }
    if (back === null) return this.notices.say("There is nothing to undo.");
    this.#progress();
    this.#waiting = this.#waiting && !back.task;
    if (back.task) return this.desk.show(back.task, { again: `Taken back${back.words ? `: ${back.words}` : ""}.` });
    const word = back.words === "flag" ? "Your flag is taken back." : "Taken back. Others have this task now.";
    this.notices.say(word);
    return this.sitting.current || this.#next();
  }

  // A panel in place of a task.
  show(panel) {
    this.parts.title.textContent = "";
    delete this.parts.task.dataset.task;
    this.parts.task.replaceChildren(panel);
    this.parts.task.setAttribute("aria-busy", "false");
    panel.querySelector("h2")?.focus({ preventScroll: true });
  }

  #done(kind, fields, words) {
    const act = { label: "Saved", skip: "Skipped" }[kind];
    this.sitting.finish(kind, fields, words);
    this.notices.say(kind === "label" ? `${act}: ${words}.` : "Skipped.", "good", { words: "Undo", act: () => this.undo() });
    this.#offerBreak();
    return this.next();
  }

  #heard(entry, reply) {
    if (isJudgement(entry.event) && reply.counts === false) {
      this.notices.say("Others had judged that task meanwhile. Yours is kept, and does not count.");
    }
    if (this.#waiting && entry.event.kind === "undo") this.next();
  }

  #taken() {
    this.notices.say("You judged that task in another tab.");
    this.next();
  }

  #changed() {
    this.notices.outbox(this.outbox, () => this.#progress());
  }

  #progress() {
    const { progress, pace } = this.sitting;
    if (!progress) return;
    const bar = part("progress"), words = part("progress-words");
    const left = progress.left;
    bar.hidden = left === null;
    if (left !== null) {
      bar.max = Math.max(1, progress.done + left);
      bar.value = progress.done;
    }
    const parts = [`${progress.done} done`, left === null ? "" : `${left} left`];
    if (pace) parts.push(`${pace.hourly} an hour`, pace.left ? `about ${duration(pace.left)} to go` : "");
    words.textContent = parts.filter(Boolean).join(" · ");
  }

  #offerBreak() {
    const judged = this.sitting.history.length;
    if (judged < this.#breakAt) return;
    this.#breakAt = judged + BREAK_AFTER;
    this.notices.banner("break", "", `You have judged ${judged} without a break. A short one helps you judge evenly.`, [
      { words: "Go on", act: () => this.notices.banner("break") },
    ]);
  }

  #nothingLeft() {
    const judged = this.sitting.history.length;
    const again = button("Look again", { kind: "primary", act: () => this.next() });
    const undo = judged || this.sitting.progress?.done ? button("Take back the last one", { key: "U", kind: "quiet", act: () => this.undo() }) : "";
    const others = make("a", { class: "button", href: "/" }, "Other projects");
    const skipped = this.sitting.progress?.skipped;
    const revisit = skipped ? button(`See ${plural(skipped, "skipped task")} again`, { act: () => this.#revisit() }) : "";
    this.keys.set("task", [{ keys: ["u", "mod+z"], says: "take back the last judgement", group: "This page", act: () => this.undo() }]);
    if (this.about.state !== "open") {
      const paused = this.about.state === "paused";
      const word = paused ? "An admin has paused it. Your work is kept; come back later." : "It is closed, and takes no more judgements.";
      return emptyState("pause", `This project is ${this.about.state}`, [word], paused ? again : "", others);
    }
    if (judged || this.sitting.progress?.done) {
      const thanks = `You have judged ${plural(this.sitting.progress.done, "task")} here. Thank you.`;
      return emptyState("done", "All done", [thanks, "New tasks may come: of a later round, or that others give back."], again, revisit, undo, others);
    }
    if (this.about.counts.items) {
      return emptyState("done", "Nothing for you now", ["Others have the tasks that are left. What they do not judge comes back within half an hour."], again, revisit, others);
    }
    const admin = this.about.rights?.includes("manage");
    const how = admin ? "Bring prompts and answers into the project, and they appear here." : "There is nothing to judge yet. Tell whoever invited you, or look again later.";
    return emptyState("done", "No tasks yet", [how], again, others);
  }

  // Get again what was skipped, of which others may have taken some.
  async #revisit() {
    try {
      await this.api.post(`${this.sitting.path}/revisit`, { key: newKey() });
    } catch (trouble) {
      if (!(trouble instanceof Trouble)) throw trouble;
      return this.notices.say(trouble.message || "This needs a connection.", "bad");
    }
    this.sitting.forgetSkips();
    return this.next();
  }

  #cannotStart(trouble, again) {
    const retry = button("Try again", { kind: "primary", act: again });
    if (trouble.kind === "offline") {
      addEventListener("online", again, { once: true });
      const kept = this.outbox.waiting.length;
      const safe = kept ? `${plural(kept, "judgement")} ${kept === 1 ? "is" : "are"} kept in this browser and sent when the connection is back.` : "";
      return this.show(emptyState("pause", "No connection", ["The next tasks come when it is back.", safe], retry));
    }
    if (trouble.kind === "other_person") return this.show(emptyState("pause", "Somebody else is signed in here", ["Your drafts and what waits to be sent are kept in this browser until you sign in again."], this.notices.signIn()));
    if (trouble.kind === "signed_out") return this.show(emptyState("pause", "Please sign in again", ["Your drafts and what waits to be sent are kept in this browser."], this.notices.signIn()));
    return this.show(emptyState("pause", "This did not work", [trouble.message], retry));
  }

  #listen() {
    const guide = part("guide"), toggle = part("guide-toggle");
    const wide = matchMedia("(min-width: 1180px)");
    const open = (on) => {
      document.body.classList.toggle("with-guide", on);
      guide.hidden = !on;
      toggle.setAttribute("aria-expanded", String(on));
    };
    const flip = () => {
      const on = guide.hidden;
      open(on);
      if (wide.matches) localStorage.setItem("steersman:guide", on ? "open" : "closed");
      if (on) guide.querySelector("h2").focus();
    };
    open(wide.matches && localStorage.getItem("steersman:guide") !== "closed" && guide.dataset.empty === undefined);
    toggle.addEventListener("click", flip);
    part("guide-close").addEventListener("click", () => { open(false); toggle.focus(); });
    part("keys-button").addEventListener("click", () => showKeys(this.keys));
    this.keys.set("page", [
      { keys: ["g"], says: "guidelines", group: "This page", act: flip },
      { keys: ["?"], says: "these keys", group: "This page", act: () => showKeys(this.keys) },
    ]);
    this.parts.noteField.addEventListener("input", () => this.desk?.changed());
    document.addEventListener("steersman:leave", () => this.desk?.clear());
    addEventListener("online", () => this.outbox.flush());
    addEventListener("storage", (event) => event.key?.startsWith("steersman:outbox:") && this.#changed());
    document.addEventListener("visibilitychange", () => !document.hidden && this.outbox.flush());
    setInterval(() => this.#renew(), RENEW_EVERY);
    setInterval(() => this.#lookAgain(), LOOK_EVERY);
    addEventListener("beforeunload", (event) => !this.outbox.kept && event.preventDefault());
  }

  // While nothing is left: a later round's tasks come to the screen by themselves.
  async #lookAgain() {
    const idle = () => this.#waiting && !this.sitting.current && !document.hidden;
    if (idle() && (await this.sitting.more()) && idle()) this.next();
  }

  async #renew() {
    if (document.hidden || !this.sitting.current) return;
    await this.api.post(`${this.sitting.path}/renew`, {}).catch((trouble) => {
      if (!(trouble instanceof Trouble)) throw trouble;
    });
  }
}

function duration(seconds) {
  if (seconds < 90 * 60) return `${Math.max(1, Math.round(seconds / 60))} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

new Page().start();
