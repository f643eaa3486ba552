// An answer written by a person, from nothing or from a model's answer. What was changed is shown while it is written.

import { button, make, plural } from "./elements.js";
import { LETTERS, answerCard, changesOf } from "./conversation.js";
import { digitOf } from "./keys.js";

export function demonstration(task, desk) {
  let source = null; // the slot of the answer that the text started from
  const field = make("textarea", {
    id: "answer-field",
    rows: "8",
    spellcheck: "true",
    placeholder: "Write the answer that you would like to get.",
    oninput: () => {
      grow();
      draw();
      desk.changed();
    },
  });
  const changes = make("details", { class: "card padded changes-of" }, make("summary", {}, "What you changed"));
  const starts = task.answers.map((answer, i) => {
    const name = task.answers.length > 1 ? `Answer ${LETTERS[i]} of a model` : "A model's answer";
    const head = button("Edit this answer", { key: String(i + 1), kind: "quiet", act: () => startFrom(answer) });
    return answerCard(answer, { name, plain: desk.plain, head });
  });
  const body = make(
    "div",
    { class: "answers demonstration" },
    starts.length ? make("div", { class: `starts${starts.length > 1 ? " several" : ""}` }, starts) : null,
    make("div", { class: "field" }, make("label", { for: "answer-field" }, "Your answer"), field),
    changes,
  );
  const count = make("span", { class: "soft small", "aria-live": "off" });
  const send = button("Submit", { key: `${desk.modifier}+⏎`, kind: "primary submit", act: submit });
  const bar = make("div", { class: "verdicts demonstration" }, make("div", { class: "row" }, count, make("span", { class: "push" }), send));

  const sourceText = () => task.answers.find((one) => one.slot === source)?.text;
  function startFrom(answer) {
    const text = field.value.trim();
    const untouched = !text || task.answers.some((one) => one.text === field.value);
    if (!untouched) return desk.say("You have begun an answer. Empty it first, to edit another one.", "bad");
    source = answer.slot;
    fill(answer.text);
    field.focus();
    return desk.changed();
  }
  function fill(text) {
    field.value = text;
    grow();
    draw();
  }
  function grow() {
    field.style.height = "auto";
    field.style.height = `${Math.min(field.scrollHeight + 4, innerHeight * 0.6)}px`;
  }
  function draw() {
    const words = field.value.trim() ? field.value.trim().split(/\s+/).length : 0;
    count.textContent = plural(words, "word");
    send.disabled = !words;
    const edited = source !== null && sourceText() !== field.value;
    changes.hidden = !edited;
    if (edited && changes.open) showChanges();
  }
  function showChanges() {
    changes.querySelector(".changes")?.remove();
    changes.append(changesOf(sourceText(), field.value));
  }
  changes.addEventListener("toggle", () => changes.open && showChanges());
  function submit() {
    const text = field.value.replace(/^\n+/, "").trimEnd();
    if (!text.trim()) return desk.say("There is no answer yet: write one, or skip.", "bad");
    return desk.submit({ text, ...(source !== null && { edited_from: source }) }, "your answer");
  }
  const write = () => field.focus();
  desk.bind([
    { keys: ["w", "Enter"], says: "write", act: write },
    ...(task.answers.length ? [{ keys: task.answers.map((_, i) => String(i + 1)), says: "start from the model's answer of this number", act: (event) => startFrom(task.answers[digitOf(event) - 1]) }] : []),
    { keys: ["mod+Enter", "mod+s"], says: "submit", typing: true, act: submit },
    { keys: ["Escape"], says: "leave the text; the draft is kept", typing: true, act: () => field.blur() },
  ].map((one) => ({ group: "Write", ...one })));
  draw();
  return {
    body,
    bar,
    draft: () => (field.value ? { text: field.value, edited_from: source } : null),
    restore: (draft) => {
      source = draft.edited_from ?? null;
      fill(draft.text || "");
    },
    shown: () => grow(),
  };
}
