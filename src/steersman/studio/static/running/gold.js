// The expected answer of a task, as the API has it: ratings by attribute, ranks in the order of the answers.

for (const form of document.querySelectorAll("form[data-kind]")) {
  form.collect = () => {
    const said = new FormData(form);
    const numbers = (start) => [...said].filter(([name]) => name.startsWith(start)).map(([name, value]) => [name.slice(start.length), Number(value)]);
    const body = { choice: said.get("choice"), thumb: said.get("thumb"), text: said.get("text") };
    if (form.dataset.kind === "rating") body.ratings = Object.fromEntries(numbers("rating-"));
    if (form.dataset.kind === "ranking") body.ranks = numbers("rank-").map(([, rank]) => rank);
    return Object.fromEntries(Object.entries(body).filter(([, value]) => value !== null && value !== ""));
  };
}
