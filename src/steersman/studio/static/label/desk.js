// The task on the screen: prompt, answers, verdict buttons, tools, note. What a kind of task needs of the page is `desk`.

import { button, make } from "./elements.js";
import { conversation } from "./conversation.js";
import { MODIFIER, openOnce } from "./keys.js";
import { demonstration } from "./demonstration.js";
import { pair } from "./pair.js";
import { ranking } from "./ranking.js";
import { rating, thumb } from "./rating.js";
import { redTeam } from "./red_team.js";

const KINDS = { pair, ranking, rating, thumb, demonstration, red_team: redTeam };
const ASKED = {
  pair: "Which answer is better?",
  ranking: "Put the answers in order, best first.",
  rating: "How good is this answer?",
  thumb: "Is this answer good?",
  demonstration: "Write the answer.",
  red_team: "Write to the model.",
};
const TOO_SOON = 120; // ms in which a key was meant for the task before
const KEEP_AFTER = 200; // ms
const SKIPS = ["I do not know the subject", "The prompt is unclear", "Too long for now"];
const FLAGS = ["The prompt cannot be answered", "Harmful or private content", "An answer is broken or cut off"];

export class Desk {
  #view = null; #task = null; #shownAt = 0; #timer = null;

  // `parts` are the page's elements, `done(kind, fields, words)` follows a verdict, `said(words, tone)` shows a message.
  constructor({ parts, keys, project, drafts, sitting, done, said, undo }) {
    Object.assign(this, { parts, keys, project, drafts, sitting, done, said, undo });
    this.plain = localStorage.getItem("steersman:plain") !== null;
    this.stacked = localStorage.getItem("steersman:stacked") !== null;
    this.differences = false;
    this.practice = null; // what takes a practice answer
    this.modifier = MODIFIER;
    addEventListener("pagehide", () => this.#keep());
    document.addEventListener("visibilitychange", () => document.hidden && this.#keep());
  }

  get narrow() {
    return matchMedia("(max-width: 760px)").matches;
  }

  show(task, { again = "" } = {}) {
    this.differences = false;
    this.#draw(task);
    const draft = this.drafts.read(task.id);
    this.#restore(draft);
    if (again) this.say(again);
    else if (draft && (draft.rationale || draft.work)) this.say("Your unfinished work is here again.");
    this.#shownAt = performance.now();
    scrollTo(0, 0);
    this.parts.title.focus({ preventScroll: true });
    setTimeout(() => this.parts.task.setAttribute("aria-busy", "false"), TOO_SOON + 20);
  }

  // The same task anew: as plain text, with differences, side by side.
  redraw() {
    if (!this.#task) return;
    const draft = this.#draft();
    this.#draw(this.#task);
    this.#restore(draft);
    this.parts.task.setAttribute("aria-busy", "false");
  }

  clear() {
    clearTimeout(this.#timer);
    this.#view?.left?.();
    this.#view = this.#task = null;
    this.keys.set("task", []);
    for (const part of [this.parts.bar, this.parts.note, this.parts.tools]) part.hidden = true;
  }

  #draw(task) {
    this.#task = task;
    const { parts } = this;
    parts.title.textContent = ASKED[task.kind] || "";
    parts.task.dataset.task = String(task.id);
    parts.task.dataset.kind = task.kind;
    parts.task.setAttribute("aria-busy", "true");
    this.#view?.left?.();
    this.#view = null;
    this.#view = KINDS[task.kind](task, this);
    parts.task.replaceChildren(
      make("section", { class: "prompt", "aria-label": "prompt" }, this.#view.prompt || conversation(task.prompt, this.plain)),
      this.#view.body,
    );
    parts.verdicts.replaceChildren(this.#view.bar);
    this.#drawTools(task);
    for (const part of [parts.bar, parts.tools]) part.hidden = false;
    parts.note.hidden = !this.project.rationale_required || Boolean(this.practice);
    this.#view.shown?.();
  }

  #drawTools(task) {
    const tool = (words, key, image, act, pressed) =>
      button(words, { key, image, kind: "quiet tool", act, ...(pressed !== undefined && { "aria-pressed": String(pressed) }) });
    const two = this.#two, real = !this.practice;
    this.parts.tools.replaceChildren(
      real ? tool("Undo", "U", "undo", () => this.undo()) : make("span", { class: "tag quiet" }, "Practice"),
      real ? tool("Skip", "S", "skip", () => this.skip()) : "",
      real ? tool("Can't judge", "C", "question", () => this.cannotJudge()) : "",
      real ? tool("Note", "N", "note", () => this.openNote()) : "",
      two ? tool("Compare", "D", "differences", () => this.toggleDifferences(), this.differences) : "",
      two && !this.narrow ? tool("Stack", "V", "columns", () => this.toggleStacked(), this.stacked) : "",
      tool("As text", "M", "text", () => this.togglePlain(), this.plain),
      real ? tool("Flag", "F", "flag", () => this.flag()) : "",
    );
  }

  get tools() {
    const two = this.#two;
    const real = ["u", "s", "c", "n", "f"]; // not in practice
    return [
      { keys: ["u", "mod+z"], says: "take back the last judgement or skip, also of earlier days", act: () => this.undo() },
      { keys: ["s"], says: "skip this task", act: () => this.skip() },
      { keys: ["c"], says: "I cannot judge this", act: () => this.cannotJudge() },
      { keys: ["n"], says: "write a note, such as your reason", act: () => this.openNote() },
      ...(two ? [{ keys: ["d"], says: "mark words that only one answer has", act: () => this.toggleDifferences() }] : []),
      ...(two ? [{ keys: ["v"], says: "side by side, or one above the other", act: () => this.toggleStacked() }] : []),
      { keys: ["m"], says: "formatted, or plain text as it was written", act: () => this.togglePlain() },
      { keys: ["p"], says: "the whole of a long prompt", act: () => this.parts.task.querySelector(".more")?.click() },
      { keys: ["f"], says: "flag the task for a reviewer", act: () => this.flag() },
      { keys: ["Escape"], says: "", typing: true, act: () => this.#escape() },
    ].filter((one) => !this.practice || !real.includes(one.keys[0])).map((one) => ({ group: "This task", ...one }));
  }

  // Whether two answers are on the screen.
  get #two() {
    return this.#view?.two ? this.#view.two() : this.#task?.kind === "pair";
  }

  // What kinds of tasks may ask of the page.
  title(words) {
    this.parts.title.textContent = words;
  }

  retool() {
    if (this.#view) this.#drawTools(this.#task);
  }

  bind(bindings) {
    this.keys.set("task", [...bindings, ...this.tools]);
  }

  say(words, tone = "") {
    this.said(words, tone);
  }

  changed() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#keep(), KEEP_AFTER);
  }

  submit(fields, words) {
    if (!this.#task || performance.now() - this.#shownAt < TOO_SOON) return;
    const rationale = this.parts.noteField.value.trim();
    if (this.project.rationale_required && !rationale && !this.practice) {
      this.openNote();
      this.say("This project asks for a reason. Write a short one, then choose again.", "bad");
      return;
    }
    this.#finish("label", { ...fields, ...(rationale && { rationale }) }, words);
  }

  cannotJudge() {
    if (!this.#task || performance.now() - this.#shownAt < TOO_SOON) return;
    const rationale = this.parts.noteField.value.trim();
    this.#finish("label", { choice: "cannot_judge", ...(rationale && { rationale }) }, "cannot be judged");
  }

  #finish(kind, fields, words) {
    if (!this.#task) return; // judged a moment ago
    if (!this.practice) this.#keep();
    clearTimeout(this.#timer);
    this.#task = null;
    if (this.practice) this.practice(fields);
    else this.done(kind, fields, words);
  }

  skip() {
    this.#ask("Skip this task", "Somebody else gets it. You can say why:", SKIPS, "Skip", (reason) =>
      this.#finish("skip", reason ? { rationale: reason } : {}, "skipped"));
  }

  flag() {
    this.#ask("Flag this task", "A reviewer looks at it. What is wrong?", FLAGS, "Flag", (reason) => {
      this.sitting.remark("flag", reason || "flagged");
      this.say("Flagged for a reviewer. You can still judge it.", "good");
    });
  }

  #ask(title, sentence, reasons, does, act) {
    const field = make("input", { type: "text", maxlength: "2000", "aria-label": "another reason", placeholder: "Another reason" });
    const close = (reason) => {
      dialog.close();
      act(reason);
    };
    const choices = reasons.map((reason, i) => button(reason, { key: String(i + 1), act: () => close(reason) }));
    const form = make(
      "form",
      { method: "dialog", onsubmit: (event) => { event.preventDefault(); close(field.value.trim()); } },
      make("h2", { id: "ask-title" }, title),
      make("p", { class: "soft" }, sentence),
      make("div", { class: "stack reasons" }, choices),
      field,
      make("div", { class: "row" }, button(does, { type: "submit", kind: "primary", key: "⏎" }), button("Cancel", { key: "Esc", kind: "quiet", act: () => dialog.close() })),
    );
    const dialog = make("dialog", { class: "ask", "aria-labelledby": "ask-title" }, form);
    dialog.addEventListener("keydown", (event) => {
      const choice = choices[Number(event.key) - 1];
      if (!choice || event.repeat || event.target === field) return;
      event.preventDefault();
      choice.click();
    });
    openOnce(dialog);
    form.querySelector("[type=submit]").focus();
  }

  openNote() {
    this.parts.note.hidden = false;
    this.parts.noteField.focus();
    this.parts.note.scrollIntoView({ block: "nearest" });
  }

  toggleDifferences() {
    this.differences = !this.differences;
    this.redraw();
    if (this.differences) this.say("Blue: only in A. Orange: only in B.");
  }

  togglePlain() {
    this.plain = !this.plain;
    remember("steersman:plain", this.plain);
    this.redraw();
  }

  toggleStacked() {
    this.stacked = !this.stacked;
    remember("steersman:stacked", this.stacked);
    this.redraw();
  }

  #escape() {
    if (document.activeElement === this.parts.noteField) {
      if (!this.parts.noteField.value.trim() && !this.project.rationale_required) this.parts.note.hidden = true;
      this.parts.title.focus({ preventScroll: true });
    } else this.#view?.escape?.();
  }

  // What is unfinished: null if nothing is.
  #draft() {
    const rationale = this.parts.noteField.value;
    const work = this.#view?.draft() || null;
    return rationale || work ? { rationale, work } : null;
  }

  #restore(draft) {
    this.parts.noteField.value = draft?.rationale || "";
    if (draft?.rationale) this.parts.note.hidden = false;
    if (draft?.work) this.#view.restore(draft.work);
  }

  #keep() {
    if (!this.#task || this.practice) return;
    const draft = this.#draft();
    const kept = this.drafts.write(this.#task.id, draft && { ...draft, seconds: this.sitting.clock.seconds });
    if (!kept) this.say("Your draft cannot be kept in this browser: its storage is full or switched off.", "bad");
  }
}

function remember(name, on) {
  if (on) localStorage.setItem(name, "1");
  else localStorage.removeItem(name);
}
