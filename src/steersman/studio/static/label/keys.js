// Keys: what each does now, shown by `?`. A key held down counts once, and keys in a text field are the field's own.

import { make, button } from "./elements.js";

const OFF = "steersman:keys-off";
const NAMES = { ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓", Enter: "⏎", Backspace: "⌫", Escape: "Esc" };
const MAC = /mac|iphone|ipad/i.test(navigator.platform || navigator.userAgent);

export function shownKey(key) {
  const [last, ...modifiers] = key.split("+").filter(Boolean).reverse();
  if (last === undefined) return "+";
  const name = NAMES[last] || (last.length === 1 ? last.toUpperCase() : last);
  return [...modifiers.reverse().map((one) => (one === "mod" ? (MAC ? "⌘" : "Ctrl") : "Shift")), name].join("+");
}

export function digitOf(event) {
  return Number(/^(?:Digit|Numpad)(\d)$/.exec(event.code)?.[1] ?? event.key);
}

export const MODIFIER = MAC ? "⌘" : "Ctrl";

// A binding: { keys, says, group, act, typing }. `typing` ones also work inside a text field.
export class Keys {
  #layers = new Map();

  constructor() {
    this.on = localStorage.getItem(OFF) === null;
    document.addEventListener("keydown", (event) => this.#pressed(event));
  }

  set(layer, bindings) {
    this.#layers.set(layer, bindings);
  }

  // The task's first: there they win, and `?` shows them above the page's.
  get bindings() {
    return [...(this.#layers.get("task") || []), ...(this.#layers.get("page") || [])];
  }

  // Single keys can be switched off: speech input and some assistive tools type letters.
  switch(on) {
    this.on = on;
    if (on) localStorage.removeItem(OFF);
    else localStorage.setItem(OFF, "1");
    document.documentElement.toggleAttribute("data-keys-off", !on);
  }

  #pressed(event) {
    if (event.defaultPrevented || event.isComposing || document.querySelector("dialog[open]")) return;
    const names = namesOf(event);
    const typing = isTyping(event.target);
    const modified = names[0]?.startsWith("mod+");
    if (!names.length || (!this.on && !modified && !typing)) return;
    const pressesButton = !modified && ["Enter", " "].includes(event.key) && event.target.closest?.("button, a, summary, select");
    if (pressesButton) return;
    const found = this.bindings.find((one) => (!typing || one.typing) && names.some((name) => one.keys.includes(name)));
    if (!found) return;
    event.preventDefault();
    if (!event.repeat) found.act(event);
  }
}

function isTyping(target) {
  return Boolean(target.closest?.("textarea, select, [contenteditable], input:not([type=radio], [type=checkbox])"));
}

// The names that an event may be bound under: its character, then its place on the keyboard, for other alphabets.
function namesOf(event) {
  if (event.altKey && !event.altGraphKey && event.key.length === 1) return [];
  const modifier = event.ctrlKey || event.metaKey ? "mod+" : "";
  const plain = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const shift = event.shiftKey && /^[a-z]$|^[A-Z]\w+$/.test(plain) ? "shift+" : "";
  const place = /^(?:Key|Digit|Numpad)(.)$/.exec(event.code || "")?.[1].toLowerCase();
  const names = [`${modifier}${shift}${plain}`];
  if (place && (!/^[\x20-\x7e]$/.test(plain) || /^\d$/.test(place))) names.push(`${modifier}${shift}${place}`);
  return names;
}

// The overlay: every key that works now, by group.
export function showKeys(keys) {
  const groups = new Map();
  for (const one of keys.bindings) {
    if (!one.says) continue;
    if (!groups.has(one.group)) groups.set(one.group, []);
    groups.get(one.group).push(one);
  }
  const lists = [...groups].map(([title, bindings]) => {
    const rows = bindings.flatMap((one) => [
      make("dt", {}, one.keys.slice(0, 3).map((key) => make("kbd", {}, shownKey(key)))),
      make("dd", {}, one.says),
    ]);
    return make("section", {}, make("h3", {}, title), make("dl", { class: "keys" }, rows));
  });
  const single = make("input", { type: "checkbox", onchange: () => keys.switch(single.checked) });
  single.checked = keys.on;
  const dialog = make(
    "dialog",
    { class: "overlay", "aria-labelledby": "keys-title" },
    make(
      "div",
      {},
      make("h2", { id: "keys-title" }, "Keys"),
      make("div", { class: "key-groups" }, lists),
      make("label", { class: "check" }, single, make("span", {}, "Single keys judge (switch off for speech input)")),
      button("Close", { key: "Esc", act: () => dialog.close() }),
    ),
  );
  openOnce(dialog);
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "?") dialog.close();
  });
}

// Show a dialog; it is gone when it is closed, and the focus is where it was.
export function openOnce(dialog) {
  document.body.append(dialog);
  dialog.addEventListener("close", () => dialog.remove());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  dialog.showModal();
}
