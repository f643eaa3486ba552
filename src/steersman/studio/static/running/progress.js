// Progress as it comes: when something happened in the project, the page's numbers are read again.

import { showTimes } from "./page.js";

const EVERY = 3000; // ms between two readings
const place = document.getElementById("live");
let waiting = false;

async function readAgain() {
  waiting = false;
  const reply = await fetch(location.href, { credentials: "same-origin", cache: "no-store" }).catch(() => null);
  if (!reply?.ok) return;
  const page = new DOMParser().parseFromString(await reply.text(), "text/html");
  const fresh = page.getElementById("live");
  if (!fresh || place.contains(document.activeElement)) return;
  place.replaceChildren(...document.importNode(fresh, true).childNodes);
  showTimes(place);
}

if (place) {
  const stream = new EventSource(place.dataset.stream);
  let first = true; // the state that the page shows already
  stream.addEventListener("progress", () => {
    if (first) first = false;
    else if (!waiting) {
      waiting = true;
      setTimeout(readAgain, EVERY);
    }
  });
  addEventListener("pagehide", () => stream.close());
}
