// A run's page as the run goes on: curves grow, sentences and answers come, the time left runs down.
import { Charts } from "/static/observatory/charts.js";

const article = document.querySelector("article[data-run]");
const run = article.dataset.run;
const here = (id) => document.getElementById(id);
const main = new Charts(here("charts").querySelector(".charts"));
const folded = here("other-charts");
const others = new Charts(folded.querySelector(".charts"));
const TONES = { running: "sea", finished: "good", crashed: "bad", damaged: "bad" };
let waiting = null; // the charts of the folded part, until it is opened
let loading = false;
let known = new Set(); // metrics that a chart shows

async function load() {
  if (loading) return null;
  loading = true;
  try {
    const reply = await fetch(`/api/runs/${run}/curves`);
    if (!reply.ok) return null;
    const found = await reply.json();
    known = new Set([...found.main, ...found.others].flatMap((one) => one.curves.map((curve) => curve.key)));
    here("charts").hidden = !found.main.length;
    if (here("no-curves") && found.main.length) here("no-curves").hidden = true;
    main.show(found.main, found.x);
    folded.hidden = !found.others.length;
    folded.querySelector("summary").textContent = `All other metrics (${found.others.length})`;
    waiting = found;
    if (folded.open) unfold();
    return found;
  } catch {
    return null;
  } finally {
    loading = false;
  }
}

function unfold() {
  if (!waiting) return;
  others.show(waiting.others, waiting.x);
  waiting = null;
}

function duration(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 90 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

function stands(found) {
  const put = (name, text) => {
    const node = article.querySelector(`header [data-stands="${name}"]`);
    if (!node) return;
    if (node.textContent !== text) node.textContent = text;
    if (name === "left") node.parentElement.hidden = !text;
  };
  put("step", found.steps ? `${found.step} of ${found.steps}` : String(found.step));
  put("worked", found.worked === null ? "–" : duration(found.worked));
  put("left", found.left === null ? "" : `about ${duration(found.left)}`);
  const state = article.querySelector("header [data-stands=state]");
  state.textContent = found.state;
  state.className = `tag ${TONES[found.state] || "quiet"}`;
  if (here("done")) here("done").value = found.step;
  here("live").textContent = found.state === "running" ? "live" : "";
  const list = here("notices");
  const key = found.notices.map((one) => one.time + one.text).join("\n");
  if (key === list.dataset.shown) return;
  list.dataset.shown = key;
  here("journal").hidden = !found.notices.length;
  list.replaceChildren(...found.notices.map((one) => {
    const item = document.createElement("li");
    const when = document.createElement("span");
    when.className = "soft small";
    when.textContent = `${found.unit} ${one.step}`;
    item.append(when, ` ${one.text}`);
    return item;
  }));
}

// Sections are replaced where they changed, but not under somebody's hands.
async function answers() {
  const reply = await fetch(`/runs/${run}/sections`).catch(() => null);
  if (!reply || !reply.ok) return;
  const found = new DOMParser().parseFromString(await reply.text(), "text/html");
  const place = here("sections");
  let before = null;
  for (const section of found.querySelectorAll("section.part")) {
    const old = here(section.id);
    const next = document.importNode(section, true);
    if (old && old.dataset.version !== section.dataset.version) {
      if (old.contains(document.activeElement) || old.matches(":hover")) {
        offer(old, next);
      } else {
        swap(old, next);
      }
    } else if (!old) {
      if (before) before.after(next);
      else place.prepend(next);
      opened(next);
    }
    before = here(section.id);
  }
}

function swap(old, next) {
  old.replaceWith(next);
  opened(next);
}

function offer(old, next) {
  old.querySelector(":scope > .newer")?.remove();
  const button = document.createElement("button");
  button.type = "button";
  button.className = "newer";
  button.textContent = "Show what is new";
  button.addEventListener("click", () => swap(old, next));
  old.querySelector("h2").after(button);
}

function opened(section) {
  document.dispatchEvent(new CustomEvent("steersman:parts", { detail: section }));
}

function listen(found) {
  const source = new EventSource(`/api/runs/${run}/stream?cursor=${found.cursor}&rows=${found.rows}`);
  source.addEventListener("rows", (event) => {
    const rows = JSON.parse(event.data).new;
    const fresh = Object.keys(rows).some((key) => rows[key].length && !known.has(key) && !skipped(key));
    main.add(rows);
    if (!waiting) others.add(rows);
    if (main.full || others.full || fresh || waiting) load();
  });
  source.addEventListener("again", () => load());
  source.addEventListener("stands", (event) => stands(JSON.parse(event.data)));
  source.addEventListener("answers", () => answers());
  source.addEventListener("error", () => {
    here("live").textContent = source.readyState === EventSource.CLOSED ? "not live: reload the page" : "connection lost; trying again";
  });
}

// Metrics that no chart shows (speeds, counters) are seen once and not asked for again.
const seen = new Set();
function skipped(key) {
  const before = seen.has(key);
  seen.add(key);
  return before;
}

folded.addEventListener("toggle", () => folded.open && unfold());
const found = await load();
if (found) listen(found);
