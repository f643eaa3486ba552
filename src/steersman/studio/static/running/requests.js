// What a page of an admin asks of the studio: one API for the page, and what went wrong in plain words.

import { Api } from "/static/label/api.js";

const meta = (name) => document.querySelector(`meta[name="${name}"]`)?.content || "";

export const api = new Api({ csrf: meta("csrf"), person: meta("person") });
export const LONG = 600000; // ms: an import of a large file

const WORDS = {
  offline: "The studio cannot be reached. Nothing was changed; try again.",
  signed_out: "You have been signed out. Sign in in another tab, then do this again here; nothing on this page is lost.",
  busy: "The studio is busy. Wait a moment and try again.",
};

export function inWords(trouble) {
  if (trouble.kind === "other_person") return `${trouble.message || "Somebody else"} is signed in in this browser now. Reload the page.`;
  return WORDS[trouble.kind] || sentence(trouble.message || "This did not work.");
}

// Messages of the API begin with a small letter, as those of a command do.
export function sentence(text) {
  const said = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?…)]$/.test(said) ? said : `${said}.`;
}
