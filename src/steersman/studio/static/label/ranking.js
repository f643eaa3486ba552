// Up to nine answers, ordered from best to worst: their numbers in that order, `=` for a tie. Not all have to be named.

import { button, icon, make, plural } from "./elements.js";
import { answerCard } from "./conversation.js";
import { digitOf } from "./keys.js";

const PLACES = ["", "1st", "2nd", "3rd"];

export function placeName(number) {
  return PLACES[number] || `${number}th`;
}

export function ranking(task, desk) {
  const count = task.answers.length;
  let groups = []; // [[2], [0, 3]]: answer 3 is the best, 1 and 4 tie behind it
  let joining = false;
  const badges = [];
  const cards = task.answers.map((answer, i) => {
    badges[i] = make("div", { class: "place" });
    const card = answerCard(answer, { name: `Answer ${i + 1}`, plain: desk.plain, head: badges[i] });
    card.addEventListener("click", (event) => {
      if (!event.target.closest("button, a, summary") && getSelection().isCollapsed && !named().has(i)) name(i);
    });
    return card;
  });
  const body = make("div", { class: "answers ranking" }, cards);
  const bar = make("div", { class: "verdicts ranking" });

  const named = () => new Set(groups.flat());
  const change = (next, join = false) => {
    groups = next.filter((group) => group.length);
    joining = join && groups.length > 0;
    draw();
    desk.changed();
  };
  function name(i) {
    if (i >= count || named().has(i)) return;
    change(joining ? [...groups.slice(0, -1), [...groups.at(-1), i]] : [...groups, [i]]);
  }
  const without = (i) => groups.map((group) => group.filter((one) => one !== i));
  const removeLast = () => change([...groups.slice(0, -1), groups.at(-1)?.slice(0, -1) || []]);

  // One step towards the best (-1) or the worst (1): out of a tie, or past the neighbour.
  function move(i, by) {
    const at = groups.findIndex((group) => group.includes(i));
    const rest = groups.map((group) => group.filter((one) => one !== i));
    if (groups[at].length > 1) rest.splice(by < 0 ? at : at + 1, 0, [i]);
    else {
      rest.splice(at, 1);
      rest.splice(Math.max(0, Math.min(rest.length, at + by)), 0, [i]);
    }
    change(rest);
    badges[i].querySelector(by < 0 ? ".up" : ".down")?.focus();
  }
  function joinAbove(i) {
    const at = groups.findIndex((group) => group.includes(i));
    if (at < 1) return;
    change(groups.map((group, k) => (k === at - 1 ? [...group, ...groups[at]] : k === at ? [] : group)));
  }

  function draw() {
    const places = placesOf(groups);
    const last = groups.flat().length + 1;
    badges.forEach((badge, i) => {
      const place = places.get(i);
      cards[i].classList.toggle("named", place !== undefined);
      badge.replaceChildren(...(place === undefined ? unnamed(i, last) : ranked(i, place)));
    });
    bar.replaceChildren(order(), actions());
  }
  function unnamed(i, last) {
    const words = joining ? "tie with the last" : `rank ${placeName(last)}`;
    return [button([make("span", { class: "unseen" }, `Answer ${i + 1}: `), words], { key: String(i + 1), kind: "rank-next", act: () => name(i) })];
  }
  function ranked(i, place) {
    const says = `Answer ${i + 1}`;
    const small = (image, kind, words, act) => make("button", { type: "button", class: `quiet icon ${kind}`, "aria-label": `${says}: ${words}`, title: words, onclick: act }, icon(image));
    return [
      make("strong", { class: "badge" }, placeName(place)),
      small("up", "up", "move up", () => move(i, -1)),
      small("down", "down", "move down", () => move(i, 1)),
      small("close", "out", "take out of the order", () => change(without(i))),
    ];
  }
  function order() {
    if (!groups.length) {
      return make("p", { class: "order soft" }, "Choose the best answer first, then the next best. You need not rank all of them.");
    }
    const places = placesOf(groups);
    const tiers = groups.map((group, at) => {
      const names = group.map((i) => String(i + 1)).join(" = ");
      const join = button("›", { kind: "quiet join", act: () => joinAbove(group[0]), "aria-label": `tie ${names} with the one before`, title: "make these two a tie" });
      return make("li", {}, at > 0 && join, make("span", { class: "tier" }, make("small", {}, placeName(places.get(group[0]))), make("b", {}, names)));
    });
    const left = count - named().size;
    const rest = left > 0 && make("li", { class: "soft rest" }, `${plural(left, "other")} ${left === 1 ? "comes" : "come"} last`);
    return make("ol", { class: "order", "aria-label": "your order, best first" }, tiers, rest);
  }
  function actions() {
    const none = !groups.length;
    return make(
      "div",
      { class: "row" },
      button("Tie with the next", { key: "=", "aria-pressed": String(joining), kind: "quiet", act: () => change(groups, !joining), disabled: none || named().size === count }),
      button("Take back", { key: "⌫", kind: "quiet", act: removeLast, disabled: none }),
      button("All equal", { key: "T", kind: "quiet", act: allEqual }),
      button("All bad", { key: "X", kind: "quiet", act: allBad }),
      button("Submit", { key: "⏎", kind: "primary submit", act: submit, disabled: none }),
    );
  }

  const shown = task.answers.map((one) => one.slot);
  const allEqual = () => desk.submit({ ranks: task.answers.map(() => 1), shown }, "all equal");
  const allBad = () => desk.submit({ ranks: task.answers.map(() => 1), choice: "both_bad", shown }, "all bad");
  function submit() {
    if (!groups.length) return desk.say("Name the best answer first: press its number, or its button.", "bad");
    const places = placesOf(groups);
    const ranks = task.answers.map((_, i) => places.get(i) ?? null);
    return desk.submit({ ranks, shown }, groups.map((group) => group.map((i) => i + 1).join(" = ")).join(" > "));
  }

  desk.bind([
    { keys: task.answers.map((_, i) => String(i + 1)), says: "the next best answer is the one of this number", act: (event) => name(digitOf(event) - 1) },
    { keys: ["="], says: "the next answer ties with the last one", act: () => change(groups, !joining) },
    { keys: ["Backspace"], says: "take back the last number", act: removeLast },
    { keys: ["Enter"], says: "submit; answers that you did not name share the last place", act: submit },
    { keys: ["t"], says: "all equally good", act: allEqual },
    { keys: ["x", "0"], says: "all bad", act: allBad },
  ].map((one) => ({ group: "Judge", ...one })));
  draw();
  return {
    body,
    bar,
    draft: () => (groups.length ? { groups } : null),
    restore: (draft) => change((draft.groups || []).map((group) => group.filter((i) => i < count))),
    escape: () => groups.length > 0 && change([]),
  };
}

// The place of each named answer: 1, 2, 2, 4 where two tie.
function placesOf(groups) {
  const places = new Map();
  let above = 0;
  for (const group of groups) {
    for (const i of group) places.set(i, above + 1);
    above += group.length;
  }
  return places;
}
