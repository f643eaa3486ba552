// What is judged: the conversation so far, and answers. Formatted or as plain text; differences of two are marked.

import { button, harmless, icon, make, plural, visible } from "./elements.js";
import { differences, edits } from "./word_diff.js";

const SPEAKERS = { system: "Instructions to the model", user: "Person", assistant: "Model", tool: "Tool" };
const SHOWN_TURNS = 4, LONG = 1400;

export const LETTERS = "ABCDEFGHI";

// Text of a person or a model: as Markdown, cleaned by the server, or as it was written.
export function textOf({ html, text }, plain) {
  if (plain || html === undefined) return make("div", { class: "verbatim" }, visible(text));
  return make("div", { class: "prose" }, harmless(html));
}

function turnOf(message, plain, speakers) {
  const text = textOf({ html: message.html, text: message.content }, plain);
  const speaker = make("div", { class: "speaker" }, speakers[message.role] || message.role);
  return make("div", { class: `turn ${message.role}` }, speaker, text);
}

// `you`: its person is the reader.
export function conversation(messages, plain, { you = false } = {}) {
  const speakers = you ? { ...SPEAKERS, user: "You" } : SPEAKERS;
  const system = messages.filter((one) => one.role === "system");
  const spoken = messages.filter((one) => one.role !== "system");
  const early = spoken.length > SHOWN_TURNS ? spoken.slice(0, -SHOWN_TURNS + 1) : [];
  const folded = system.map((one) =>
    make("details", { class: "earlier" }, make("summary", {}, SPEAKERS.system), turnOf(one, plain, speakers)));
  if (early.length) {
    const turns = early.map((one) => turnOf(one, plain, speakers));
    folded.push(make("details", { class: "earlier" }, make("summary", {}, plural(early.length, "earlier message")), turns));
  }
  const late = spoken.slice(early.length).map((one) => turnOf(one, plain, speakers));
  const alone = !you && spoken.length === 1;
  const shown = make("div", { class: `conversation${alone ? " alone" : ""}` }, folded, late);
  return spoken.reduce((sum, one) => sum + one.content.length, 0) > LONG ? foldable(shown) : shown;
}

// A long prompt takes a part of the screen, and all of it when asked.
function foldable(shown) {
  const more = button("Show the whole prompt", { kind: "quiet small more", key: "P", act: () => open(more.ariaExpanded !== "true") });
  const box = make("div", { class: "foldable folded", "data-foldable": true }, make("div", { class: "inner", tabindex: "0", role: "region", "aria-label": "prompt" }, shown), more);
  const open = (whole) => {
    box.classList.toggle("folded", !whole);
    more.ariaExpanded = String(whole);
    more.querySelector("span").textContent = whole ? "Show less of the prompt" : "Show the whole prompt";
  };
  more.ariaExpanded = "false";
  return box;
}

// An answer in a card. `head` stands beside its name.
export function answerCard(answer, { name, tone = "", plain = false, head = [] }) {
  const id = `answer-${answer.slot}`;
  const title = make("h3", { id, class: "answer-name" }, name);
  const body = make("div", { class: "answer-text" }, textOf(answer, plain));
  return make(
    "article",
    { class: `card answer ${tone}`.trim(), "aria-labelledby": id, "data-slot": String(answer.slot) },
    make("header", {}, title, head),
    body,
  );
}

// Put marked words into cards of two answers, as plain text.
export function markDifferences(cards, answers) {
  const texts = answers.map((one) => visible(one.text));
  const sides = differences(...texts);
  const same = texts[0] === texts[1];
  cards.forEach((card, i) => {
    const name = i ? "ins" : "del";
    const marked = sides[i].map((one) => (one.own ? make(name, {}, one.text) : one.text));
    card.querySelector(".answer-text").replaceChildren(make("div", { class: "verbatim" }, marked));
  });
  return same;
}

// One text against another: what was taken out, and what was put in.
export function changesOf(before, after) {
  const names = { gone: "del", added: "ins" };
  const parts = edits(visible(before), visible(after));
  return make(
    "div",
    { class: "verbatim changes" },
    parts.map((one) => (names[one.kind] ? make(names[one.kind], {}, one.text) : one.text)),
  );
}

export function emptyState(image, title, sentences, ...actions) {
  const paragraphs = sentences.filter(Boolean).map((one) => make("p", { class: "soft" }, one));
  return make(
    "div",
    { class: "empty card" },
    icon(image),
    make("h2", { tabindex: "-1" }, title),
    paragraphs,
    make("div", { class: "row" }, actions),
  );
}
