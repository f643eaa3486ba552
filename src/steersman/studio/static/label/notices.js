// What the page says beside the task: saved, offline, signed out, not accepted. In plain words, and what to do.

import { button, icon, make, plural } from "./elements.js";

const SHOWN_FOR = 6000; // ms

export class Notices {
  #timer = null;

  constructor({ status, banners, toasts }) {
    Object.assign(this, { status, banners, toasts });
  }

  // A short message above the verdict buttons. `offer` is a button in it.
  say(words, tone = "", offer = null) {
    clearTimeout(this.#timer);
    const offered = offer && button(offer.words, { kind: "link", act: () => { this.hush(); offer.act(); } });
    const sign = tone === "good" ? icon("check") : "";
    this.toasts.replaceChildren(make("div", { class: `toast ${tone}` }, sign, make("span", {}, words), offered));
    this.#timer = setTimeout(() => this.hush(), SHOWN_FOR);
  }

  hush() {
    this.toasts.replaceChildren();
  }

  // A message that stays until what it says is over. Without words it is taken away.
  banner(name, tone = "", words = "", offers = []) {
    const there = this.banners.querySelector(`[data-name="${name}"]`);
    if (!words) {
      there?.remove();
      return;
    }
    if (there?.dataset.words === words) return;
    const buttons = offers.map((one) => (one.element ? one.element : button(one.words, { kind: "quiet", act: one.act })));
    const notice = make("div", { class: `notice ${tone}`, "data-name": name, "data-words": words }, make("p", {}, words), buttons);
    if (there) there.replaceWith(notice);
    else this.banners.append(notice);
  }

  signIn() {
    return make("a", { class: "button primary", href: `/sign-in?next=${encodeURIComponent(location.pathname)}` }, "Sign in");
  }

  // The state of the outbox, in the top bar and in banners.
  outbox(outbox, counted) {
    const waiting = outbox.waiting.length;
    const what = plural(waiting, "judgement");
    const words = { offline: `Offline · ${waiting} kept here`, busy: `${waiting} to send`, fault: `${waiting} to send` };
    const sending = waiting > 1 ? `Sending ${waiting}` : "";
    this.status.textContent = waiting ? words[outbox.state] || (outbox.state === "sending" ? sending : "") : "";
    this.status.dataset.state = waiting ? outbox.state : "idle";
    this.status.dataset.waiting = String(waiting);
    const lost = outbox.state === "offline" && waiting > 0;
    this.banner("offline", "fair", lost ? `No connection. Go on: ${what} ${waiting === 1 ? "is" : "are"} kept in this browser and sent when it is back.` : "");
    const out = outbox.state === "signed_out";
    const unsent = waiting ? `${what} and your draft are` : "Your draft is";
    this.banner("signed_out", "fair", out ? `You have been signed out. ${unsent} kept in this browser; sign in again and go on.` : "", [{ element: this.signIn() }]);
    const other = outbox.state === "other_person";
    this.banner("other_person", "bad", other ? `${outbox.told || "Somebody else"} is signed in in this browser now. ${what} of yours ${waiting === 1 ? "is" : "are"} kept here until you sign in again.` : "", [{ element: this.signIn() }]);
    const fault = outbox.state === "fault" && waiting > 0;
    this.banner("fault", "bad", fault ? `The studio has a problem (${outbox.told}). ${what} kept here; it is tried again by itself.` : "");
    this.banner("storage", "bad", outbox.kept ? "" : "This browser cannot keep your work: its storage is full or switched off. Leave the page open until everything is sent.");
    const refused = outbox.refused;
    this.banner("refused", "bad", refused.length ? `${plural(refused.length, "judgement")} not accepted: ${refused[0].refused}` : "", [
      { words: "Try again", act: () => outbox.retryRefused() },
      { words: "Discard", act: () => refused.forEach((entry) => outbox.forget(entry)) },
    ]);
    counted();
  }
}
