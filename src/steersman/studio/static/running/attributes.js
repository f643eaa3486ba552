// What answers are rated by, as rows that can be added and removed.

const list = document.getElementById("attributes");
const form = list.closest("form");
const pattern = document.getElementById("attribute-row");

function add(focus = true) {
  const row = pattern.content.cloneNode(true).firstElementChild;
  list.append(row);
  if (focus) row.querySelector("input").focus();
}

list.addEventListener("click", (event) => {
  const remove = event.target.closest("[data-remove]");
  if (!remove) return;
  const row = remove.closest(".attribute");
  const next = row.nextElementSibling || row.previousElementSibling;
  row.remove();
  (next ? next.querySelector("input") : document.getElementById("add-attribute")).focus();
});
document.getElementById("add-attribute").addEventListener("click", () => add());

form.collect = () => ({
  attributes: [...list.querySelectorAll(".attribute")].map((row) => {
    const said = Object.fromEntries([...row.querySelectorAll("[data-field]")].map((field) => [field.dataset.field, field.value]));
    const name = said.title.normalize("NFKD").replace(/[^A-Za-z0-9]+/g, "_").replace(/^[^A-Za-z]+|_+$/g, "").toLowerCase().slice(0, 50);
    return { ...said, name: row.dataset.name || name || `attribute_${Date.now()}`, least: Number(said.least), most: Number(said.most) };
  }),
});
