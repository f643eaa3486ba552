// After a person was erased: what stays, and which models were trained on their judgements.

import { make, plural } from "/static/label/elements.js";

document.addEventListener("sent", (event) => {
  const button = event.target.closest("[data-erases]");
  if (!button) return;
  if (button.dataset.erases === document.querySelector('meta[name="person"]').content) return location.assign("/sign-in");
  const { events, labels, snapshots, runs } = event.detail;
  const held = Object.entries(snapshots).map(([project, numbers]) => `${project}: ${numbers.join(", ")}`);
  const lines = [
    `The texts of ${plural(events, "event")} and ${plural(labels, "judgement")} are erased.`,
    held.length ? `Snapshots that hold their judgements: ${held.join("; ")}.` : "No snapshot holds their judgements.",
    ...(runs.length ? [`Train these models again without them: ${runs.join(", ")}.`] : []),
  ];
  const place = document.getElementById("main");
  const heading = make("h1", { tabindex: "-1" }, "Erased");
  place.replaceChildren(make("div", { class: "stack" }, heading, ...lines.map((one) => make("p", {}, one)), make("p", {}, make("a", { class: "button", href: "/people" }, "Back to the people"))));
  heading.focus();
});
