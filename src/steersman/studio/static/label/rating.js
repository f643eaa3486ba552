// One answer, rated by attributes: a digit rates the attribute that is current, and goes on to the next.

import { button, make } from "./elements.js";
import { answerCard } from "./conversation.js";
import { digitOf } from "./keys.js";

export function rating(task, desk) {
  const attributes = task.attributes;
  const ratings = {};
  let current = 0;
  const rows = attributes.map((one, at) => rowOf(one, at));
  const body = make("div", { class: "answers alone" }, task.answers.map((one) => answerCard(one, { name: "Answer", plain: desk.plain })));
  const send = button("Submit", { key: "⏎", kind: "primary submit", act: submit });
  const bar = make("div", { class: "verdicts rating" }, make("div", { class: "attributes" }, rows.map((row) => row.element)), send);

  function rowOf(one, at) {
    const [least, most] = [one.least ?? 1, one.most ?? 5];
    const values = Array.from({ length: most - least + 1 }, (_, i) => least + i);
    const title = one.title || one.name;
    const inputs = values.map((value) => make("input", {
      type: "radio",
      name: `attribute-${task.id}-${at}`,
      value: String(value),
      "aria-label": `${title}: ${value} of ${most}`,
      onchange: () => rate(at, value),
      onfocus: () => go(at),
    }));
    const choices = inputs.map((input, i) => make("label", { class: "value" }, input, make("span", {}, String(values[i]))));
    const ends = one.low || one.high ? make("span", { class: "soft small ends" }, `${least} ${one.low || "worst"}, ${most} ${one.high || "best"}`) : null;
    const element = make(
      "fieldset",
      { class: "attribute", onpointerdown: () => go(at) },
      make("legend", {}, title, one.description && make("span", { class: "soft small" }, one.description)),
      make("div", { class: "values" }, choices),
      ends,
    );
    return { element, inputs, values, title };
  }
  function go(at) {
    current = Math.max(0, Math.min(attributes.length - 1, at));
    rows.forEach((row, i) => row.element.classList.toggle("current", i === current));
  }
  function rate(at, value, further = false) {
    const row = rows[at];
    const i = row.values.indexOf(value);
    if (i < 0) return;
    row.inputs[i].checked = true;
    ratings[attributes[at].name] = value;
    go(further ? at + 1 : at);
    draw();
    desk.changed();
  }
  const missing = () => attributes.filter((one) => ratings[one.name] === undefined);
  function draw() {
    send.disabled = missing().length > 0;
  }
  function submit() {
    if (missing().length) return desk.say(`Not rated yet: ${missing().map((one) => one.title || one.name).join(", ")}.`, "bad");
    const words = attributes.map((one) => `${one.title || one.name} ${ratings[one.name]}`).join(", ");
    return desk.submit({ ratings: { ...ratings }, shown: task.answers.map((one) => one.slot) }, words);
  }
  const digits = [...new Set(rows.flatMap((row) => row.values))].filter((value) => value >= 0 && value <= 9).map(String);
  desk.bind([
    { keys: digits, says: "rate the marked attribute, and go on to the next", act: (event) => rate(current, digitOf(event), true) },
    { keys: ["ArrowDown", "j"], says: "next attribute", act: () => go(current + 1) },
    { keys: ["ArrowUp", "k"], says: "attribute before", act: () => go(current - 1) },
    { keys: ["Enter"], says: "submit", act: submit },
  ].map((one) => ({ group: "Judge", ...one })));
  go(0);
  draw();
  return {
    body,
    bar,
    draft: () => (Object.keys(ratings).length ? { ratings } : null),
    restore: (draft) => {
      attributes.forEach((one, at) => { if (draft.ratings?.[one.name] !== undefined) rate(at, draft.ratings[one.name]); });
      go(attributes.findIndex((one) => ratings[one.name] === undefined));
    },
  };
}

// One answer: good or not.
export function thumb(task, desk) {
  const body = make("div", { class: "answers alone" }, task.answers.map((one) => answerCard(one, { name: "Answer", plain: desk.plain })));
  const shown = task.answers.map((one) => one.slot);
  const give = (which) => desk.submit({ thumb: which, shown }, which === "up" ? "good" : "not good");
  const bar = make(
    "div",
    { class: "verdicts thumb" },
    button("Not good", { key: "2", kind: "thumb down", image: "thumb_down", act: () => give("down") }),
    button("Good", { key: "1", kind: "thumb up", image: "thumb_up", act: () => give("up") }),
  );
  desk.bind([
    { keys: ["1", "+", "y"], says: "the answer is good", act: () => give("up") },
    { keys: ["2", "-"], says: "the answer is not good", act: () => give("down") },
  ].map((one) => ({ group: "Judge", ...one })));
  return { body, bar, draft: () => null, restore: () => {} };
}
