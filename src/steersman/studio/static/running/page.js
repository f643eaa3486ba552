// What all pages of an admin have: forms and buttons that use the API, questions before what cannot be undone, times in
// the reader's own zone, copying, and a message after a page was loaded anew.
//
// <form data-send="POST /api/…" data-then="reload" data-said="Saved">: its fields are sent as JSON, by name.
// <button data-send="DELETE /api/…" data-ask="Remove Ann?" data-do="Remove" data-then="reload">
// data-then: "reload", "/an/address/{project}" (filled from the reply), or nothing: the event "sent" has the reply.

import { button, icon, make } from "/static/label/elements.js";
import { openOnce } from "/static/label/keys.js";
import { api, inWords } from "./requests.js";

const FLASH = "steersman:said";

function toast(words, tone = "good") {
  const place = document.getElementById("toasts");
  place.replaceChildren(make("div", { class: `toast ${tone}` }, tone === "good" ? icon("check") : null, make("span", {}, words)));
  setTimeout(() => place.replaceChildren(), 6000);
}

// The value of a field as the API has it.
function valueOf(field) {
  if (field.type === "checkbox") return field.checked;
  if (field.type === "number") return field.value === "" ? undefined : Number(field.value);
  return field.value === "" && field.hasAttribute("data-optional") ? undefined : field.value;
}

export function valuesOf(form) {
  const named = [...form.elements].filter((field) => field.name && field.type !== "submit" && (field.type !== "radio" || field.checked));
  return Object.fromEntries(named.map((field) => [field.name, valueOf(field)]).filter(([, value]) => value !== undefined));
}

export function complain(place, words) {
  let message = place.querySelector(":scope > .message");
  if (!message) {
    message = make("p", { class: "message notice bad", role: "alert", tabindex: "-1" });
    if (place.tagName === "FORM") place.append(message);
    else place.prepend(message);
  }
  message.textContent = words;
  message.hidden = !words;
}

function leaveTo(then, reply, said) {
  if (said) sessionStorage.setItem(FLASH, said);
  if (then === "reload") location.reload();
  else location.assign(then.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(reply[name] ?? "")));
}

// Send what an element asks for. `place` is where a complaint is shown.
async function send(element, body, place) {
  if (element.getAttribute("aria-busy") === "true") return;
  const [method, path] = element.dataset.send.split(" ");
  element.setAttribute("aria-busy", "true");
  complain(place, "");
  try {
    const reply = await api.send(method, path, body);
    document.dispatchEvent(new CustomEvent("saved", { detail: element }));
    const then = element.dataset.then || "";
    if (then) return leaveTo(then, reply, element.dataset.said);
    if (element.dataset.said) toast(element.dataset.said);
    element.dispatchEvent(new CustomEvent("sent", { detail: reply, bubbles: true }));
  } catch (trouble) {
    if (!trouble.kind) throw trouble;
    complain(place, inWords(trouble));
    if (element.dataset.before !== undefined) element.value = element.dataset.before;
  } finally {
    element.removeAttribute("aria-busy");
  }
}

// Resolves with the choices of the dialog if the person goes on.
function ask(element) {
  return new Promise((go) => {
    const id = "question-title";
    const more = element.dataset.askMore && make("label", { class: "check" }, make("input", { type: "checkbox" }), make("span", {}, element.dataset.askMore));
    const dialog = make(
      "dialog",
      { "aria-labelledby": id },
      make(
        "div",
        { class: "stack" },
        make("h2", { id }, element.dataset.ask),
        element.dataset.askText && make("p", {}, element.dataset.askText),
        more,
        make(
          "div",
          { class: "row" },
          button(element.dataset.do || "Go on", { kind: "danger", act: () => { dialog.close(); go(more ? more.querySelector("input").checked : false); } }),
          button("Cancel", { kind: "quiet", act: () => dialog.close(), autofocus: true }),
        ),
      ),
    );
    openOnce(dialog);
  });
}

// A button that stands alone complains in the part of the page that it belongs to.
const partOf = (element) => element.closest("[data-part]") || document.getElementById("main");

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.dataset.send) return;
  event.preventDefault();
  send(form, form.collect ? form.collect() : valuesOf(form), form);
});
document.addEventListener("click", async (event) => {
  const element = event.target.closest("button");
  if (!element) return;
  if (element.dataset.copy) return copy(element);
  if (!element.dataset.send) return;
  let path = element.dataset.send;
  if (element.dataset.ask) {
    const more = await ask(element);
    if (more) path += element.dataset.askAdds || "";
  }
  const asked = element.dataset.send;
  element.dataset.send = path;
  await send(element, element.dataset.body ? JSON.parse(element.dataset.body) : undefined, partOf(element));
  element.dataset.send = asked;
});
document.addEventListener("focusin", (event) => {
  if (event.target.dataset?.send && event.target.tagName === "SELECT") event.target.dataset.before = event.target.value;
});
document.addEventListener("change", (event) => {
  const field = event.target;
  if (field.dataset.send) send(field, { [field.name]: valueOf(field) }, partOf(field));
});

async function copy(element) {
  const field = document.getElementById(element.dataset.copy);
  field.select?.();
  try {
    await navigator.clipboard.writeText(field.value ?? field.textContent);
    toast("Copied");
  } catch {
    toast("Press Ctrl+C to copy what is selected.", "fair");
  }
}

// Times as the reader's clock and calendar have them.
const DAY = { weekday: "short", day: "numeric", month: "short" };
export function showTimes(root = document) {
  for (const time of root.querySelectorAll("time[datetime]:not([data-shown])")) {
    const moment = new Date(time.dateTime);
    if (Number.isNaN(moment.getTime())) continue;
    const year = moment.getFullYear() === new Date().getFullYear() ? {} : { year: "numeric" };
    const clock = time.dataset.only === "day" ? {} : { hour: "2-digit", minute: "2-digit" };
    time.textContent = moment.toLocaleString("en-GB", { ...DAY, ...year, ...clock });
    time.title = moment.toString();
    time.dataset.shown = "";
  }
}

// A table that is too wide scrolls; then the keyboard must reach it.
function reachTables() {
  for (const table of document.querySelectorAll(".table")) {
    const wide = table.scrollWidth > table.clientWidth;
    const name = table.querySelector("caption")?.textContent || table.getAttribute("aria-label");
    if (!wide || !name) continue;
    for (const [attribute, value] of [["tabindex", "0"], ["role", "region"], ["aria-label", name]]) table.setAttribute(attribute, value);
  }
}

showTimes();
reachTables();
addEventListener("resize", reachTables);
const said = sessionStorage.getItem(FLASH);
if (said) {
  sessionStorage.removeItem(FLASH);
  toast(said);
}
// The page of the project that is shown stands in view where the row of pages scrolls.
const current = document.querySelector(".sections [aria-current]");
if (current && current.parentElement.scrollWidth > current.parentElement.clientWidth) {
  current.parentElement.scrollLeft = current.offsetLeft - current.parentElement.clientWidth / 2 + current.offsetWidth / 2;
}
