// A file on its way into a project: chosen or dropped, shown with its columns, read as its format or by its columns,
// previewed as people will see it, and imported.

import { harmless, make, plural, visible } from "/static/label/elements.js";
import { complain } from "./page.js";
import { LONG, api, inWords } from "./requests.js";

const part = document.getElementById("upload");
const form = document.getElementById("import-form");
const input = document.getElementById("file");
const drop = document.getElementById("drop");
const at = (id) => document.getElementById(id);
const HOLDS = [
  ["", [["", "not used"]]],
  ["To be judged", [["prompt", "prompt"], ["system", "system message"], ["answers", "answer"]]],
  ["Judged already", [["chosen", "better answer"], ["rejected", "worse answer"], ["first", "first answer"], ["second", "second answer"], ["preferred", "which is better"], ["completion", "the one answer"], ["rating", "its rating"], ["label", "its thumb"], ["annotator", "who judged"]]],
  ["Beside", [["id", "id"], ["metadata", "kept with the prompt"]]],
];
const SEVERAL = ["answers", "metadata"];
const GUESSES = [[/^(prompt|question|instruction|input|query|task)s?$/i, "prompt"], [/^system/i, "system"], [/chosen|preferred_answer|winner/i, "chosen"], [/reject|loser/i, "rejected"], [/annotator|labell?er|rater/i, "annotator"], [/^(id|uuid|key)$/i, "id"]];
let chose = false; // whether the person said what people shall do
let file = null; // the studio's reply to the upload

// Choosing a file

input.addEventListener("change", () => input.files.length && upload(input.files[0]));
for (const kind of ["dragover", "dragleave", "drop"]) {
  drop.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files.length) upload(event.dataTransfer.files[0]);
  });
}

async function upload(chosen) {
  complain(part, "");
  at("upload-state").textContent = `Uploading ${chosen.name} …`;
  const body = new FormData();
  body.append("file", chosen);
  try {
    file = await api.send("POST", part.dataset.files, body, LONG);
    at("upload-state").textContent = "";
    show();
  } catch (trouble) {
    if (!trouble.kind) throw trouble;
    at("upload-state").textContent = "";
    complain(part, inWords(trouble));
  } finally {
    input.value = "";
  }
}

// Showing what it holds

function show() {
  at("result").replaceChildren();
  form.hidden = false;
  at("file-name").textContent = visible(file.name);
  const known = at("as-format");
  known.disabled = !file.format;
  at("format-name").textContent = file.format ? `As ${file.format}` : "As one of the known formats";
  at("format-hint").textContent = file.format ? "The file looks like this format." : "The file looks like none of them.";
  (file.format ? known : at("as-columns")).checked = true;
  const guessed = guess();
  const head = file.columns.map((column, i) => make("th", { scope: "col" }, make("span", { class: "column" }, visible(column)), holds(column, i, guessed[i])));
  const rows = file.rows.map((row) => make("tr", {}, ...file.columns.map((column) => make("td", {}, make("div", {}, visible(row[column] ?? ""))))));
  at("rows").replaceChildren(make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows));
  at("rows-note").textContent = `The first ${plural(file.rows.length, "row")}${file.bad ? `. A row cannot be read: ${visible(file.bad)}` : ""}`;
  at("file-name").focus();
  changed();
}

function holds(column, i, chosen) {
  const groups = HOLDS.map(([title, options]) => {
    const made = options.map(([value, words]) => make("option", { value, selected: value === chosen }, words));
    return title ? make("optgroup", { label: title }, ...made) : made[0];
  });
  return make("select", { "data-column": String(i), "aria-label": `column ${visible(column)} holds` }, ...groups);
}

function guess() {
  const found = file.columns.map((column) => GUESSES.find(([pattern]) => pattern.test(column.trim()))?.[1] || "");
  if (!found.includes("prompt") && found.length) found[found.findIndex((one) => !one)] = "prompt";
  const judged = found.includes("chosen") && found.includes("rejected");
  const named = file.columns.map((column) => /answer|response|completion|output|reply|model/i.test(column));
  const some = found.some((one, i) => !one && named[i]);
  return found.map((one, i) => one || (judged || (some && !named[i]) ? "" : "answers"));
}

// What is wanted

function wanted() {
  const said = new FormData(form);
  const body = { file: file.file, task: said.get("task"), overlap: Number(said.get("overlap")) || 1, round: said.get("round"), annotator: said.get("annotator") };
  const how = said.get("how");
  if (how === "other") body.format = at("other-format").value;
  if (how === "columns") {
    body.columns = {};
    for (const select of at("rows").querySelectorAll("select")) {
      if (!select.value) continue;
      const column = file.columns[Number(select.dataset.column)];
      if (SEVERAL.includes(select.value)) (body.columns[select.value] ??= []).push(column);
      else body.columns[select.value] = column;
    }
  }
  return body;
}

let timer = null;
let asked = 0;

function changed() {
  form.dataset.how = new FormData(form).get("how");
  clearTimeout(timer);
  timer = setTimeout(preview, 250);
}
form.addEventListener("input", (event) => {
  if (event.target.name === "task") chose = true;
  if (event.target.id === "other-format") at("as-other").checked = true;
  changed();
});

async function preview() {
  const mine = ++asked;
  const place = at("preview");
  place.setAttribute("aria-busy", "true");
  try {
    const said = await api.send("POST", `${part.dataset.imports}/preview`, wanted());
    if (mine === asked) showPreview(place, said);
  } catch (trouble) {
    if (!trouble.kind) throw trouble;
    if (mine === asked) place.replaceChildren(make("p", { class: "notice bad" }, visible(inWords(trouble))));
  } finally {
    if (mine === asked) place.removeAttribute("aria-busy");
  }
}

const TASKS = { pair: ["pair to compare", "pairs to compare"], ranking: ["list to rank", "lists to rank"], rating: ["answer to rate", "answers to rate"], thumb: ["answer for a thumb", "answers for a thumb"], demonstration: ["answer to write", "answers to write"], red_team: ["goal of red-teaming", "goals of red-teaming"] };

function showPreview(place, said) {
  const body = wanted();
  if (said.labels && !said.tasks && body.task && !chose) {
    // Rows of this format are judged already: nothing is left to ask.
    form.querySelector('input[name="task"][value=""]').checked = true;
    body.task = "";
  }
  const [one, many] = TASKS[body.task] || ["item", "items"];
  const from = said.whole ? `The file's ${plural(said.rows, "row")}` : `The first ${plural(said.rows, "row")}`;
  const gives = said.tasks ? plural(said.tasks, one, many) : said.labels ? plural(said.labels, "judgement") : `nothing to judge: ${plural(said.records, "record")} without ${body.task ? "two answers or a prompt that this kind of task needs" : "a judgement"}`;
  const both = said.tasks && said.labels ? ` and ${plural(said.labels, "judgement")}` : "";
  const verb = said.rows === 1 ? "gives" : "give";
  const words = [make("p", {}, `${from} ${verb} `, make("strong", {}, gives), both, ".")];
  if (said.read.malformed) words.push(make("p", { class: "notice fair" }, `${plural(said.read.malformed, "row")} cannot be read: ${visible(firstReason(said.read))}`));
  place.replaceChildren(...words, ...said.examples.map(example));
}

function firstReason(read) {
  const [reason, { examples }] = Object.entries(read.reasons)[0];
  return examples[0] || reason;
}

function example(one) {
  const turns = one.prompt.map((turn) => make("div", { class: `turn ${turn.role}` }, make("span", { class: "speaker" }, turn.role), make("div", { class: "prose small" }, harmless(turn.html))));
  const answers = one.answers.map((answer) => make("div", { class: "card example-answer" }, make("div", { class: "prose small" }, harmless(answer.html)), answer.model && make("p", { class: "soft small" }, `${visible(answer.model)} · people do not see this name`)));
  return make("article", { class: "example" }, ...turns, make("div", { class: "example-answers" }, ...answers));
}

// The import

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (form.getAttribute("aria-busy") === "true") return;
  form.setAttribute("aria-busy", "true");
  at("upload-state").textContent = "Importing …";
  complain(form, "");
  try {
    showResult(await api.send("POST", part.dataset.imports, wanted(), LONG));
  } catch (trouble) {
    if (!trouble.kind) throw trouble;
    complain(form, visible(inWords(trouble)));
  } finally {
    at("upload-state").textContent = "";
    form.removeAttribute("aria-busy");
  }
});

function showResult(said) {
  form.hidden = true;
  const parts = [[said.tasks, "new task"], [said.labels, "new judgement"], [said.items - said.tasks, "other new item"]].filter(([count]) => count > 0).map(([count, name]) => plural(count, name));
  const old = said.repeated ? ` ${plural(said.repeated, "judgement")} ${said.repeated === 1 ? "was" : "were"} there already.` : "";
  const answers = said.known_answers ? ` ${plural(said.known_answers, "task")} that ${said.known_answers === 1 ? "was" : "were"} there already ${said.known_answers === 1 ? "has" : "have"} a known answer now.` : "";
  const words = `Imported: ${parts.join(", ") || "nothing new"}.${answers}${old}`;
  const bad = said.read.malformed;
  const reasons = Object.entries(said.read.reasons).map(([reason, one]) => make("li", {}, `${one.count} × ${visible(reason)}`, make("span", { class: "soft small" }, ` such as ${visible(one.examples[0] || "")}`)));
  const heading = make("p", { tabindex: "-1" }, make("strong", {}, words), bad ? ` ${plural(bad, "row")} could not be read and ${bad === 1 ? "was" : "were"} left out.` : "");
  at("result").replaceChildren(make("div", { class: `notice ${bad ? "fair" : "good"}`, role: "status" }, heading, make("a", { class: "button", href: location.pathname }, "Show the tasks"), bad ? make("ul", { class: "reasons" }, ...reasons) : null));
  at("result").querySelector("p").focus();
}
