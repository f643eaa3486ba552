// The curves of several runs over one another.
import { Charts } from "/static/observatory/charts.js";

const place = document.getElementById("charts");
const reply = await fetch(`/api/runs/compare${location.search}`);
const found = reply.ok ? await reply.json() : { main: [] };
if (found.main.length) {
  new Charts(place, { first: 2, legend: false }).show(found.main, "step");
} else {
  place.parentElement.hidden = true;
  document.getElementById("no-curves").hidden = false;
}
