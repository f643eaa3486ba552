// Red-teaming: a person writes to the model, gets two answers, and chooses; or goes on from one of them. The answers
// are the studio's: the label names their exchange.

import { Trouble } from "./api.js";
import { conversation } from "./conversation.js";
import { button, make, plural } from "./elements.js";
import { newKey } from "./outbox.js";
import { pair } from "./pair.js";

const PATIENCE = 150000; // ms; a large model may take its time
const AGAIN = 2000;

export function redTeam(task, desk) {
  let exchange = null; // what the studio keeps: { exchange, conversation, answers }
  let going = null; // the slot of the answer that the conversation goes on from
  let asking = false, key = newKey(), gone = false, stepBack = null;
  const goal = task.prompt.at(-1), opening = task.prompt.slice(0, -1).filter((one) => one.role !== "system");
  const body = make("div", { class: "red-team" }), bar = make("div", { class: "verdicts red-team" });
  const field = make("textarea", {
    id: "message-field", rows: "4", maxlength: "20000", spellcheck: "true", placeholder: "What you would say to the model.",
    oninput: () => { key = newKey(); grow(); draw(); desk.changed(); },
  });
  const count = make("span", { class: "soft small" });
  const status = make("p", { class: "soft", role: "status" });
  const send = button("Ask the model", { key: `${desk.modifier}+⏎`, kind: "primary submit", act: ask });

  const said = () => (exchange ? exchange.conversation : opening);
  const choosing = () => exchange !== null && going === null;

  // What was said so far, when the conversation goes on from an answer.
  function before() {
    if (!exchange) return opening;
    const chosen = exchange.answers.find((one) => one.slot === going);
    return [...exchange.conversation, { role: "assistant", content: chosen.text, html: chosen.html }];
  }

  function show() {
    if (choosing()) showAnswers();
    else showField();
    desk.retool();
  }

  function showField() {
    const talk = before();
    body.replaceChildren(...[
      talk.length ? conversation(talk, desk.plain, { you: true }) : null,
      make("div", { class: "field" }, make("label", { for: "message-field" }, talk.length ? "Your next message" : "Your message to the model"), field),
      status,
    ].filter(Boolean));
    const back = exchange ? button("Back to the answers", { key: "Esc", kind: "quiet", act: () => { going = null; show(); desk.changed(); } }) : "";
    bar.replaceChildren(make("div", { class: "row" }, count, make("span", { class: "push" }), back, send));
    desk.title("Write to the model.");
    desk.bind([
      { keys: ["w", "Enter"], says: "write", act: () => field.focus() },
      { keys: ["mod+Enter"], says: "ask the model", typing: true, act: ask },
      { keys: ["Escape"], says: "leave the text; the draft is kept", typing: true, act: escape },
    ].map((one) => ({ group: "Write", ...one })));
    draw();
    grow();
  }

  function showAnswers() {
    const shown = pair({ ...task, kind: "pair", answers: exchange.answers }, {
      project: desk.project, plain: desk.plain, stacked: desk.stacked, differences: desk.differences,
      submit: (fields, words) => desk.submit({ ...fields, exchange: exchange.exchange }, words),
      bind: (bindings) => desk.bind([...bindings, ...more]),
    });
    stepBack = shown.escape;
    const rewrite = button("Write another message", { key: "W", kind: "quiet small", act: again });
    body.replaceChildren(conversation(said(), desk.plain, { you: true }), make("div", { class: "row" }, rewrite), shown.body);
    shown.body.querySelectorAll("article > header").forEach((head, i) => {
      head.append(button("Go on from here", { key: "QE"[i], kind: "quiet small", act: () => goOn(exchange.answers[i].slot) }));
    });
    bar.replaceChildren(shown.bar);
    desk.title("Which answer is better?");
  }

  const more = [
    { keys: ["w"], says: "write another message instead", act: () => again() },
    { keys: ["q"], says: "go on with the conversation from A", act: () => goOn(exchange.answers[0].slot) },
    { keys: ["e"], says: "go on with the conversation from B", act: () => goOn(exchange.answers[1].slot) },
  ].map((one) => ({ group: "Conversation", ...one }));

  function again() {
    const last = exchange.conversation.at(-1).content;
    exchange = null;
    going = null;
    restart(last);
  }

  function goOn(slot) {
    going = slot;
    restart("");
  }

  function restart(text) {
    field.value = text;
    key = newKey();
    status.textContent = "";
    show();
    field.focus();
    desk.changed();
  }

  function escape() {
    if (document.activeElement === field) return field.blur();
    if (exchange && going !== null) { going = null; return show(); }
    return stepBack?.();
  }

  async function ask() {
    const text = field.value.trim();
    if (asking || !text) return;
    asking = true;
    status.className = "soft";
    status.textContent = "The model is answering …";
    draw();
    try {
      const next = await answered({ key, text, ...(going !== null && { after: exchange.exchange, slot: going }) });
      if (gone) return;
      exchange = next;
      going = null;
      asking = false;
      status.textContent = "";
      field.value = "";
      show();
      desk.parts.title.focus({ preventScroll: true });
      desk.changed();
    } catch (trouble) {
      if (!(trouble instanceof Trouble)) throw trouble;
      status.className = "notice bad";
      status.textContent = wordsOf(trouble);
    } finally {
      asking = false;
      draw();
    }
  }

  // The same key brings the same answers, so that asking again after a lost connection is safe.
  async function answered(wanted) {
    const path = `${desk.sitting.path}/tasks/${task.id}/answers`;
    for (;;) {
      try {
        return await desk.sitting.api.send("POST", path, wanted, PATIENCE);
      } catch (trouble) {
        if (!(trouble instanceof Trouble) || trouble.status !== 429 || gone) throw trouble;
        await new Promise((wake) => setTimeout(wake, Math.max(AGAIN, trouble.after || 0)));
      }
    }
  }

  function draw() {
    const words = field.value.trim() ? field.value.trim().split(/\s+/).length : 0;
    count.textContent = plural(words, "word");
    send.disabled = !words || asking;
    field.readOnly = asking;
  }

  function grow() {
    field.style.height = "auto";
    field.style.height = `${Math.min(field.scrollHeight + 4, innerHeight * 0.5)}px`;
  }

  show();
  return {
    body,
    bar,
    two: choosing,
    prompt: make("div", { class: "goal" }, make("div", { class: "speaker" }, "What to try"), conversation([{ ...goal, role: "user" }], desk.plain).querySelector(".prose, .verbatim")),
    draft: () => (exchange || field.value ? { text: field.value, exchange, going, key } : null),
    restore: (draft) => {
      ({ exchange = null, going = null } = draft);
      key = draft.key || key;
      field.value = draft.text || "";
      show();
    },
    escape,
    shown: grow,
    left: () => { gone = true; },
  };
}

function wordsOf(trouble) {
  if (trouble.kind === "offline") return "There is no connection. Your message is kept here; ask again when it is back.";
  if (trouble.kind === "signed_out") return "You have been signed out. Sign in in another tab; your message is kept here.";
  const text = trouble.message || "This did not work.";
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`.replace("..", ".");
}
