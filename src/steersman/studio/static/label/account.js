// What is kept in this browser, on the pages outside a project: sent when its owner is here, shown when not, and
// forgotten when they sign out.

import { Api } from "./api.js";
import { Outbox, entriesIn } from "./outbox.js";
import { forgetPerson } from "./drafts.js";
import { button, make, plural } from "./elements.js";
import { openOnce } from "./keys.js";

const meta = (name) => document.querySelector(`meta[name="${name}"]`)?.content || "";
const person = meta("person");
const place = document.getElementById("unsent");
const outbox = person ? new Outbox({ api: new Api({ csrf: meta("csrf"), person }), storage: localStorage, changed: show }) : null;

function show() {
  if (!place) return;
  const all = entriesIn(localStorage);
  const others = all.filter((entry) => String(entry.person) !== person);
  const mine = all.length - others.length;
  const words = [];
  if (mine) words.push(`${plural(mine, "judgement")} of yours ${mine === 1 ? "waits" : "wait"} in this browser to be sent.`);
  if (others.length) {
    const whose = person ? "somebody else who used this browser" : "who used this browser before";
    words.push(`${plural(others.length, "judgement")} of ${whose} ${others.length === 1 ? "waits" : "wait"} here, and ${others.length === 1 ? "is" : "are"} sent when they sign in.`);
  }
  place.replaceChildren(...words.map((one) => make("p", { class: "notice fair" }, one)));
}

// Signing out: first send what waits. What cannot be sent is lost only if the person says so.
function askFirst(form, event) {
  if (form.dataset.sure) return;
  event.preventDefault();
  const leave = () => {
    document.dispatchEvent(new Event("steersman:leave")); // the page keeps no draft any more
    forgetPerson(localStorage, person);
    form.dataset.sure = "yes";
    form.requestSubmit();
  };
  outbox.flush().then(() => {
    const left = outbox.all.length;
    if (!left) return leave();
    const dialog = make(
      "dialog",
      { "aria-labelledby": "leave-title" },
      make(
        "div",
        { class: "stack" },
        make("h2", { id: "leave-title" }, `${plural(left, "judgement")} ${left === 1 ? "is" : "are"} not sent yet`),
        make("p", {}, "They are kept in this browser only, and the studio cannot be reached now. If you sign out, they are deleted."),
        make("div", { class: "row" }, button("Stay signed in", { kind: "primary", act: () => dialog.close() }), button("Delete them and sign out", { kind: "danger", act: leave })),
      ),
    );
    return openOnce(dialog);
  });
}

for (const form of document.querySelectorAll("[data-sign-out]")) {
  form.addEventListener("submit", (event) => askFirst(form, event));
}
show();
if (outbox && place) outbox.flush();
