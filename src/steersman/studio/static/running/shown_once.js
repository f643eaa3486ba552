// A secret that is shown this once: an invite's link, a token, a webhook's signing secret.

import { make, button, plural } from "/static/label/elements.js";

let made = 0;
document.addEventListener("sent", (event) => {
  const form = event.target;
  const secret = event.detail.url ?? event.detail.secret;
  if (!secret) return;
  const place = document.getElementById(form.dataset.shows);
  const id = `secret-${++made}`;
  const field = make("input", { id, readonly: true, value: secret, class: "secret", "aria-describedby": `${id}-hint` });
  const days = event.detail.days ? ` It works once, within ${plural(event.detail.days, "day")}.` : "";
  const block = make(
    "div",
    { class: "notice good once" },
    make("label", { for: id }, form.dataset.shown),
    make("div", { class: "copied" }, field, button("Copy", { "data-copy": id, kind: "primary" })),
    make("p", { id: `${id}-hint`, class: "small" }, `It is shown this once: copy it now.${days}`),
  );
  place.prepend(block);
  field.focus();
  field.select();
  if (form.reset) form.reset();
});
