// Elements made by hand. Text goes in as text; HTML only through `harmless`, and nothing of it can run or load.

const SVG = "http://www.w3.org/2000/svg";
const ICONS = {
  undo: "M9 14 4 9l5-5M4 9h10a6 6 0 0 1 0 12h-3",
  question: "M9 9a3 3 0 1 1 4.5 2.6c-1 .6-1.5 1.2-1.5 2.4M12 17.5h.01",
  flag: "M5 21V4h13l-2.5 4.5L18 13H5",
  note: "M4 20h16M6 16l1-4L16 3l3 3-9 9z",
  skip: "M5 5l8 7-8 7zM18 5v14",
  differences: "M4 6h9M4 12h5M4 18h9M17 8v8M13 12h8",
  close: "M6 6l12 12M18 6 6 18",
  up: "M6 15l6-6 6 6",
  down: "M6 9l6 6 6-6",
  check: "M5 12.5l4.5 4.5L19 7.5",
  guide: "M5 4h9a3 3 0 0 1 3 3v13H8a3 3 0 0 1-3-3zM5 17a3 3 0 0 1 3-3h9",
  more: "M5 12h.01M12 12h.01M19 12h.01",
  thumb_up: "M7 11v9H4v-9zM7 11l4-8a2 2 0 0 1 2 2v4h5.5a2 2 0 0 1 2 2.4l-1.3 7a2 2 0 0 1-2 1.6H7",
  thumb_down: "M7 13V4H4v9zM7 13l4 8a2 2 0 0 0 2-2v-4h5.5a2 2 0 0 0 2-2.4l-1.3-7a2 2 0 0 0-2-1.6H7",
  keyboard: "M3 7h18v10H3zM7 11h.01M11 11h.01M15 11h.01M8 14h8",
  columns: "M4 5h7v14H4zM13 5h7v14h-7z",
  text: "M5 6h14M5 10h14M5 14h9M5 18h11",
  pause: "M8 5v14M16 5v14",
  done: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM8 12.5l2.7 2.7L16 9.5",
};

export function make(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (attribute.startsWith("on")) node.addEventListener(attribute.slice(2), value);
    else node.setAttribute(attribute, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export function icon(name) {
  const drawing = document.createElementNS(SVG, "svg");
  const line = { viewBox: "0 0 24 24", fill: "none", stroke: "currentColor", "stroke-width": "1.8" };
  const ends = { "stroke-linecap": "round", "stroke-linejoin": "round", "aria-hidden": "true" };
  for (const [attribute, value] of Object.entries({ ...line, ...ends })) drawing.setAttribute(attribute, value);
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  if (name === "more") drawing.setAttribute("stroke-width", "3");
  drawing.append(path);
  return drawing;
}

// A button: its words, the key that does the same, and what it does.
export function button(words, { key = "", kind = "", image = "", act, ...attributes }) {
  return make(
    "button",
    { type: "button", class: `${kind}${image ? " with-icon" : ""}`.trim(), onclick: act, ...attributes },
    image && icon(image),
    make("span", {}, words),
    key && make("kbd", { "aria-hidden": "true" }, key),
  );
}

const TAGS = new Set(
  "P BR HR H1 H2 H3 H4 H5 H6 BLOCKQUOTE PRE CODE EM STRONG S DEL UL OL LI TABLE THEAD TBODY TR TH TD A SPAN".split(" "),
);

// HTML that the server has cleaned, built anew from the tags that text needs. Parsed in a document that runs nothing.
export function harmless(html) {
  const parsed = new DOMParser().parseFromString(html, "text/html");
  const whole = document.createDocumentFragment();
  whole.append(...copied(parsed.body));
  return whole;
}

function copied(from) {
  return [...from.childNodes].flatMap((node) => {
    if (node.nodeType === Node.TEXT_NODE) return [document.createTextNode(visible(node.data))];
    if (node.nodeType !== Node.ELEMENT_NODE) return [];
    if (!TAGS.has(node.tagName)) return copied(node);
    const made = document.createElement(node.tagName);
    if (node.tagName === "A") describeLink(made, node.getAttribute("href") || "");
    if (node.tagName === "PRE") made.tabIndex = 0;
    if (node.tagName === "OL" && /^\d{1,9}$/.test(node.getAttribute("start") || "")) {
      made.setAttribute("start", node.getAttribute("start"));
    }
    made.append(...copied(node));
    return [made];
  });
}

function describeLink(link, address) {
  if (!/^(https?:|mailto:)/i.test(address)) return;
  link.href = address;
  link.target = "_blank";
  link.rel = "noopener noreferrer nofollow";
  link.title = address;
}

// Control characters and direction marks made visible, as the terminal does (steersman/inert.py).
const LIVE = new RegExp(
  "[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u00ad\\u061c\\u180e\\u200b\\u200e\\u200f\\u2028-\\u202e\\u2060-\\u206f" +
    "\\ufeff\\ufff9-\\ufffb]|[\\u{e0000}-\\u{e007f}]",
  "gu",
);

export function visible(text) {
  return text.replaceAll("\r\n", "\n").replace(LIVE, (one) => {
    const code = one.codePointAt(0);
    if (code < 0x20) return String.fromCodePoint(0x2400 + code);
    return code === 0x7f ? "\u2421" : `⟨U+${code.toString(16).toUpperCase().padStart(4, "0")}⟩`;
  });
}

export function plural(count, one, many = `${one}s`) {
  return `${count} ${count === 1 ? one : many}`;
}
