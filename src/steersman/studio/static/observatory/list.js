// The list of runs keeps up with them; and no more runs are chosen than can be compared.
const EVERY = 5000;
const TONES = { running: "sea", finished: "good", crashed: "bad", damaged: "bad" };

async function look() {
  if (document.hidden) return;
  const reply = await fetch("/api/runs").catch(() => null);
  if (!reply || !reply.ok) return;
  for (const one of await reply.json()) {
    const item = document.querySelector(`li[data-run="${one.id}"]`);
    if (!item) continue;
    const state = item.querySelector("[data-stands=state]");
    state.textContent = one.state;
    state.className = `tag ${TONES[one.state] || "quiet"}`;
    item.querySelector("[data-stands=step]").textContent = one.steps ? `${one.step} of ${one.steps}` : String(one.step);
  }
}

const form = document.querySelector("form[data-compare]");
if (form) {
  const boxes = [...form.querySelectorAll("input[type=checkbox]")];
  const button = form.querySelector("button");
  const most = Number(form.dataset.compare);
  const count = () => {
    const chosen = boxes.filter((box) => box.checked).length;
    button.disabled = chosen < 2;
    for (const box of boxes) box.disabled = !box.checked && chosen >= most;
  };
  form.addEventListener("change", count);
  count();
}
setInterval(look, EVERY);
