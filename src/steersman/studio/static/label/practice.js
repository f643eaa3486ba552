// Before the first task: what this is, and, if the project has some, practice tasks with feedback.

import { emptyState } from "./conversation.js";
import { button, harmless, make, plural, visible } from "./elements.js";
import { newKey } from "./outbox.js";

// Whether the person may begin.
export async function practise({ page, about }) {
  const practice = await page.api.get(`${page.sitting.path}/practice`);
  const seen = `steersman:seen:${page.api.person}:${page.project}`;
  const open = practice.state === "open";
  if (localStorage.getItem(seen) === null || open) {
    await welcome(page, about, open ? practice : null);
    localStorage.setItem(seen, "1");
  }
  return open ? tasksOf(page, practice) : practice.state === "failed" ? failed(page) : true;
}

function welcome(page, about, practice) {
  const percent = practice && Math.round(100 * practice.needed);
  return panel(page, "Start", "start",
    make("h2", { tabindex: "-1" }, about.title),
    about.guidelines ? make("div", { class: "prose" }, harmless(about.guidelines)) : make("p", {}, "You see a prompt and answers to it. Say which answer is better. There is no trick: it is your judgement that counts."),
    practice ? make("p", { class: "notice" }, `First ${plural(practice.left, "practice task")}. After each you see what was expected, and why. With ${percent} % right you begin.`) : "",
    make("ul", { class: "how soft" },
      make("li", {}, "Each judgement is saved at once. You can take back any of them."),
      make("li", {}, "If you cannot judge something, say so or skip it."),
      make("li", { class: "for-keys" }, "Everything has a key; ", make("kbd", {}, "?"), " shows them. "),
    ),
  );
}

// A panel in place of a task, until its button or Enter is pressed.
function panel(page, words, says, ...content) {
  return new Promise((go) => {
    page.keys.set("task", [{ keys: ["Enter"], says, group: "This page", act: () => go() }]);
    page.show(make("section", { class: "card welcome" }, ...content, button(words, { kind: "primary", key: "⏎", act: () => go() })));
  }).then(() => page.keys.set("task", []));
}

async function tasksOf(page, practice) {
  for (let now = practice; ; now = await page.api.get(`${page.sitting.path}/practice`)) {
    let last = now;
    for (const [place, task] of now.tasks.entries()) {
      last = await answered(page, task);
      const onward = place + 1 < now.tasks.length || last.state === "open" && last.left < last.items;
      await panel(page, onward ? "Next" : "Go on", "go on", ...feedback(last, now.items));
    }
    if (last.state === "passed") return true;
    if (last.state === "failed") return failed(page);
    if (last.left === last.items) {
      const tries = plural(last.attempts_left + 1, "attempt");
      await panel(page, "Try again", "try again",
        make("h2", { tabindex: "-1" }, "Not enough were right"),
        make("p", {}, `Read the guidelines once more (G), and try again. You have ${tries} left.`));
    }
  }
}

// One practice task on the desk, and its mark. It is sent until the studio has heard it.
async function answered(page, task) {
  const fields = await new Promise((given) => {
    page.desk.practice = (said) => given(said);
    page.desk.show(task);
  });
  page.desk.practice = null;
  page.desk.clear();
  const event = { key: newKey(), kind: "label", task: task.id, ...fields };
  for (;;) {
    try {
      return await page.api.post(`${page.sitting.path}/practice`, event);
    } catch (trouble) {
      if (trouble.kind === "refused") throw trouble;
      await panel(page, "Try again", "try again", make("h2", { tabindex: "-1" }, "This was not sent"), make("p", {}, trouble.message || "There is no connection."));
    }
  }
}

function feedback(mark) {
  return [
    make("h2", { tabindex: "-1" }, mark.right ? "Right" : "Another answer was expected"),
    make("p", { class: `notice ${mark.right ? "good" : "fair"}` }, `Expected: ${mark.expected}.`),
    mark.explanation ? make("p", { class: "verbatim" }, visible(mark.explanation)) : "",
  ];
}

function failed(page) {
  const others = make("a", { class: "button", href: "/" }, "Other projects");
  page.show(emptyState("pause", "You may not begin yet", ["Too few practice tasks were right. An admin of the project can let you in."], others));
  return false;
}
