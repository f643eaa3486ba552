// The name for addresses and commands follows the title, until somebody writes another one.

const title = document.getElementById("title");
const name = document.getElementById("name");
let own = false;

name.addEventListener("input", () => (own = name.value !== ""));
function follow() {
  if (own) return;
  const plain = title.value.normalize("NFKD").replace(/[\u0300-\u036f]/g, "").toLowerCase();
  name.value = plain.replace(/[^a-z0-9]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 64);
}

title.addEventListener("input", follow);
if (name.value) own = true;
else follow(); // somebody was faster than this script
