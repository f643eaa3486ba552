// Two answers: which is better, and how much. The row of digits is the scale: 1 is "A far better", 9 is "B far better".

import { button, make } from "./elements.js";
import { LETTERS, answerCard, markDifferences } from "./conversation.js";

export const GRADES = { 4: "far", 3: "clearly", 2: "slightly", 1: "barely" };
const SIDES = ["first", "second"];

export function pair(task, desk) {
  const graded = desk.project.strength !== false;
  const cards = task.answers.map((answer, i) =>
    answerCard(answer, { name: `Answer ${LETTERS[i]}`, tone: "ab"[i], plain: desk.plain }));
  const body = make("div", { class: `answers pair${desk.stacked ? " stacked" : ""}` }, cards);
  if (desk.differences && markDifferences(cards, task.answers)) {
    body.prepend(make("p", { class: "soft small same" }, "Both answers are the same, word for word."));
  }
  const shown = task.answers.map((one) => one.slot);

  const choose = (choice, strength) => desk.submit(
    { choice, shown, ...(strength && { strength }) },
    wordsOf(choice, strength),
  );
  const bar = make("div", { class: "verdicts pair" });
  const step = graded ? scaled(bar, choose) : plainly(bar, choose);
  const others = [
    { keys: ["t", "="], says: "a tie: equally good", act: () => choose("tie") },
    { keys: ["x", "0"], says: "both bad: neither is acceptable", act: () => choose("both_bad") },
  ];
  const bindings = () => [...step.bindings(), ...others].map((one) => ({ group: "Judge", ...one }));
  desk.bind(bindings());
  step.changed = () => desk.bind(bindings());
  return { body, bar, draft: () => null, restore: () => {}, escape: () => step.back?.() };
}

export function wordsOf(choice, strength) {
  if (choice === "tie") return "a tie";
  if (choice === "both_bad") return "both bad";
  if (choice === "cannot_judge") return "cannot be judged";
  const letter = LETTERS[SIDES.indexOf(choice)];
  return strength ? `${letter} is ${GRADES[strength]} better` : `${letter} is better`;
}

// A grade alone is seen; a screen reader reads the whole of it.
function said(i, grade) {
  const unseen = (words) => make("span", { class: "unseen" }, words);
  return [unseen(`${LETTERS[i]} is `), GRADES[grade], unseen(" better")];
}

// Without grades: four buttons.
function plainly(bar, choose) {
  const side = (i, key) => button(`${LETTERS[i]} is better`, { key, kind: `side ${"ab"[i]}`, act: () => choose(SIDES[i]) });
  bar.append(
    make(
      "div",
      { class: "plain-choice" },
      side(0, "A"),
      button("Tie", { key: "T", kind: "tie", act: () => choose("tie") }),
      button("Both bad", { key: "X", kind: "both-bad", act: () => choose("both_bad") }),
      side(1, "B"),
    ),
  );
  return {
    bindings: () => [
      { keys: ["a", "1", "ArrowLeft"], says: "A is better", act: () => choose("first") },
      { keys: ["b", "2", "ArrowRight"], says: "B is better", act: () => choose("second") },
    ],
  };
}

// With grades: on a wide page the whole scale in one row, on a narrow one the side first and then the grade.
function scaled(bar, choose) {
  const step = { side: null, changed: () => {} };
  const settle = (side) => {
    step.side = side;
    draw();
    step.changed();
  };
  step.back = () => step.side !== null && settle(null);

  function draw() {
    bar.replaceChildren(step.side === null ? scale() : grades(step.side));
  }
  function scale() {
    const points = [4, 3, 2, 1].map((grade, i) => point(0, grade, String(i + 1)));
    const after = [1, 2, 3, 4].map((grade, i) => point(1, grade, String(i + 6)));
    const neither = make(
      "div",
      { class: "neither" },
      button("Tie", { key: "5", kind: "tie", act: () => choose("tie") }),
      button("Both bad", { key: "0", kind: "both-bad", act: () => choose("both_bad") }),
    );
    const sides = [0, 1].map((i) => button(`${LETTERS[i]} is better`, { key: LETTERS[i], kind: `side ${"ab"[i]}`, act: () => settle(i) }));
    return make(
      "div",
      { class: "scale" },
      make("div", { class: "points a", role: "group", "aria-label": "A is better" }, make("span", { class: "side-name", "aria-hidden": "true" }, "A is better"), points),
      sides[0],
      neither,
      sides[1],
      make("div", { class: "points b", role: "group", "aria-label": "B is better" }, make("span", { class: "side-name", "aria-hidden": "true" }, "B is better"), after),
    );
  }
  function point(i, grade, key) {
    return button(said(i, grade), { key, kind: `point g${grade}`, act: () => choose(SIDES[i], grade), title: wordsOf(SIDES[i], grade) });
  }
  function grades(i) {
    const buttons = [1, 2, 3, 4].map((grade) =>
      button(said(i, grade), { key: String(grade), kind: `point g${grade}`, act: () => choose(SIDES[i], grade) }));
    return make(
      "div",
      { class: `grades ${"ab"[i]}`, role: "group", "aria-labelledby": "how-much" },
      make("strong", { id: "how-much" }, `How much better is ${LETTERS[i]}?`),
      buttons,
      button("Back", { key: "Esc", kind: "quiet", act: () => settle(null) }),
    );
  }
  step.bindings = () => (step.side === null ? whole() : graded());
  const sideKeys = () => [
    { keys: ["a", "ArrowLeft"], says: "A is better; then 1 to 4: how much", act: () => settle(0) },
    { keys: ["b", "ArrowRight"], says: "B is better; then 1 to 4: how much", act: () => settle(1) },
  ];
  const whole = () => [
    ...[4, 3, 2, 1].map((grade, i) => ({ keys: [String(i + 1)], says: wordsOf("first", grade), act: () => choose("first", grade) })),
    { keys: ["5"], says: "a tie", act: () => choose("tie") },
    ...[1, 2, 3, 4].map((grade, i) => ({ keys: [String(i + 6)], says: wordsOf("second", grade), act: () => choose("second", grade) })),
    ...sideKeys(),
  ];
  const graded = () => [
    ...[1, 2, 3, 4].map((grade) => ({ keys: [String(grade)], says: wordsOf(SIDES[step.side], grade), act: () => choose(SIDES[step.side], grade) })),
    ...sideKeys(),
  ];
  draw();
  return step;
}
