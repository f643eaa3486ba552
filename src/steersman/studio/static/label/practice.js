// Before the first task: what this is, and, if the project has some, practice tasks with feedback.

import { button, harmless, make } from "./elements.js";

// Resolves when the person may begin.
export async function practise({ page, about }) {
  const seen = `steersman:seen:${page.api.person}:${page.project}`;
  if (localStorage.getItem(seen) === null) {
    await welcome(page, about);
    localStorage.setItem(seen, "1");
  }
}

function welcome(page, about) {
  return new Promise((begin) => {
    const panel = make(
      "section",
      { class: "card welcome" },
      make("h2", { tabindex: "-1" }, about.title),
      about.guidelines ? make("div", { class: "prose" }, harmless(about.guidelines)) : make("p", {}, "You see a prompt and answers to it. Say which answer is better. There is no trick: it is your judgement that counts."),
      make("ul", { class: "how soft" },
        make("li", {}, "Each judgement is saved at once. You can take back any of them."),
        make("li", {}, "If you cannot judge something, say so or skip it."),
        make("li", { class: "for-keys" }, "Everything has a key; ", make("kbd", {}, "?"), " shows them. "),
      ),
      button("Start", { kind: "primary", key: "⏎", act: () => begin() }),
    );
    page.keys.set("task", [{ keys: ["Enter"], says: "start", group: "This page", act: begin }]);
    page.show(panel);
  }).then(() => page.keys.set("task", []));
}
