// Guidelines while they are written: shown as labellers will see them, and not lost by leaving the page.

import { harmless } from "/static/label/elements.js";
import { api } from "./requests.js";

const field = document.getElementById("guidelines-field");
const shown = document.getElementById("guidelines-shown");
const empty = shown.querySelector(".soft");
let kept = field.value;
let timer = null;
let asked = 0;

async function show() {
  const mine = ++asked;
  const text = field.value;
  if (!text.trim()) return shown.replaceChildren(empty);
  const said = await api.send("POST", field.dataset.preview, { text }).catch(() => null);
  if (said && mine === asked) shown.replaceChildren(harmless(said.html));
}

field.addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(show, 300);
});
document.addEventListener("saved", () => (kept = field.value));
addEventListener("beforeunload", (event) => {
  if (field.value !== kept) event.preventDefault();
});
for (const one of document.querySelectorAll("[data-version]")) {
  one.addEventListener("click", () => {
    field.value = document.getElementById(one.dataset.version).textContent;
    show();
    field.focus();
  });
}
if (field.value.trim()) show();
