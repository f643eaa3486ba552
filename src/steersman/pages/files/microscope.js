"use strict";
// The token microscope: one answer, its tokens coloured by what PPO knew of them, and every number of the token one points at.
// Written without a library and without markup in strings: what a model said reaches the page as text, never as HTML.
(() => {
  const NAMES = [
    ["values", "value", "what the critic expects of the answer before this token is said"],
    ["q", "Q", "what the token was paid, and what the critic expects after it"],
    ["returns", "return", "what was really paid from here on, as training estimated it"],
    ["advantages", "advantage", "how much better the token was than expected, as the update used it"],
    ["rewards", "reward", "what this token was paid: its price in KL, and at the end the score"],
    ["kl", "KL", "the estimate of the distance from the reference, in nats"],
    ["ratio", "ratio", "how much likelier the policy makes the token than the frozen reference"],
    ["log_probs", "log-probability", "of the token, by the policy"],
    ["reference_log_probs", "log-probability, reference", "of the token, by the frozen reference"],
    ["entropies", "entropy", "how open the choice was, in nats"],
  ];
  const COLOURS = ["values", "rewards", "kl", "advantages", "ratio", "entropies"];
  const SIDE = ["values", "returns", "q", "advantages"];
  const SVG = "http://www.w3.org/2000/svg";

  const make = (name, attributes, ...children) => {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {})) node.setAttribute(key, value);
    node.append(...children);
    return node;
  };
  const draw = (name, attributes, text) => {
    const node = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const said = (number, places = 3) => {
    const text = number.toFixed(places);
    return Number(text) === 0 ? text.replace("-", "") : text.replace("-", "−");
  };
  const signed = (number, places = 2) => (number > 0 ? "+" : "") + said(number, places);
  const quoted = (text) => "“" + (text.trim() || text).replace(/\n/g, "↵") + "”";
  const percent = (share) => (share < 0.01 ? "under 1" : Math.round(share * 100)) + " %";

  function columnsOf(sample) {
    const columns = { ...sample.columns };
    columns.ratio = columns.log_probs.map((value, i) => Math.exp(value - columns.reference_log_probs[i]));
    return columns;
  }

  // How strongly a token is coloured, from -1 to 1. Rewards and KL are large at one token and small at the others, so their root is
  // taken; a ratio is coloured by its logarithm.
  function strengths(name, column) {
    const shaped = column.map((value) =>
      name === "ratio" ? Math.log(value) : name === "rewards" || name === "kl" ? Math.sign(value) * Math.sqrt(Math.abs(value)) : value);
    const most = Math.max(...shaped.map(Math.abs), 1e-9);
    return shaped.map((value) => value / most);
  }

  function open(scope, number) {
    const samples = JSON.parse(scope.querySelector("script").textContent);
    const state = { sample: 0, token: 0, colour: null };
    const pick = make("select", { "aria-label": "answer" });
    samples.forEach((sample, i) => pick.append(make("option", { value: i }, sample.label)));
    const choices = make("fieldset", {}, make("legend", {}, "coloured by"));
    const asked = make("p", { class: "asked" });
    const tokens = make("div", { class: "tokens", role: "listbox", "aria-label": "tokens of the answer; arrow keys move", "aria-orientation": "horizontal" });
    const scale = make("div", { class: "scale", "aria-hidden": "true" });
    const reading = make("div", { class: "reading", "aria-live": "polite" });
    const rest = make("div", { class: "rest" });
    const chart = make("div", { class: "scope-chart" });
    const paths = make("div", { class: "paths" });
    scope.append(
      make("div", { class: "scope-controls" }, make("label", { class: "pick" }, "answer", pick), choices),
      make("div", { class: "scope-text" }, asked, tokens, scale),
      reading,
      make("div", { class: "scope-grid" }, rest, chart),
      paths,
    );

    function showSample() {
      const sample = samples[state.sample];
      const columns = columnsOf(sample);
      asked.textContent = sample.prompt;
      state.colour = columns[state.colour] ? state.colour : COLOURS.find((name) => columns[name]);
      choices.querySelectorAll("label").forEach((label) => label.remove());
      for (const name of COLOURS.filter((one) => columns[one])) {
        const input = make("input", { type: "radio", name: "colour-" + number, value: name });
        input.checked = name === state.colour;
        input.addEventListener("change", () => { state.colour = name; paint(); });
        choices.append(make("label", { class: "choice" }, input, make("span", {}, NAMES.find((one) => one[0] === name)[1])));
      }
      tokens.replaceChildren(...sample.tokens.map((text, i) => {
        const token = make("span", { class: "token", role: "option", id: "token-" + number + "-" + i }, text.replace(/\n/g, "↵\n"));
        token.addEventListener("pointerenter", () => choose(i));
        token.addEventListener("focus", () => choose(i));
        token.addEventListener("click", () => { choose(i); token.focus(); });
        return token;
      }));
      paint();
      choose(Math.min(state.token, sample.tokens.length - 1));
    }

    function paint() {
      const sample = samples[state.sample];
      const column = columnsOf(sample)[state.colour];
      strengths(state.colour, column).forEach((strength, i) => {
        const token = tokens.children[i];
        token.style.setProperty("--mix", (62 * Math.abs(strength)).toFixed(1) + "%");
        token.style.setProperty("--hue", strength < 0 ? "var(--minus)" : "var(--plus)");
      });
      const [low, high] = [Math.min(...column), Math.max(...column)];
      const most = Math.max(Math.abs(low), Math.abs(high));
      const one = state.colour === "entropies";
      const ends = state.colour === "ratio"
        ? ["less likely than by the reference", "likelier, at most " + said(high, 2) + "×"]
        : one ? ["0", said(high)] : [said(-most), said(most)];
      scale.replaceChildren(make("span", {}, ends[0]), make("i", { class: one ? "one" : "" }), make("span", {}, ends[1]));
    }

    function choose(i) {
      state.token = i;
      [...tokens.children].forEach((token, place) => {
        token.setAttribute("aria-selected", String(place === i));
        token.tabIndex = place === i ? 0 : -1;
      });
      read();
      plot();
      branch();
    }

    function read() {
      const sample = samples[state.sample];
      const columns = columnsOf(sample);
      const body = make("tbody");
      const four = make("dl", { class: "four" });
      for (const [name, words, meaning] of NAMES) {
        if (!columns[name]) continue;
        const value = said(columns[name][state.token], 4);
        if (SIDE.includes(name)) four.append(make("div", { title: meaning, "data-column": name }, make("dt", {}, words), make("dd", {}, value)));
        else body.append(make("tr", { title: meaning, "data-column": name }, make("th", { scope: "row" }, words), make("td", {}, value)));
      }
      const parts = [make("h3", {}, quoted(sample.tokens[state.token]) + ", token " + (state.token + 1) + " of " + sample.tokens.length)];
      if (columns.values) {
        const before = columns.values[state.token];
        const last = state.token + 1 === sample.tokens.length;
        const words = last
          ? "Expected " + said(before) + "; the answer ends here, and its score is " + said(sample.score, 2) + "."
          : "Expected before it " + said(before) + ", after it " + said(columns.values[state.token + 1]) + ": "
            + signed(columns.values[state.token + 1] - before, 3) + " by this token.";
        parts.push(make("p", { class: "turn" }, words));
      }
      reading.replaceChildren(...parts, four);
      rest.replaceChildren(make("table", {}, body), ...(sample.note ? [make("p", { class: "soft small" }, sample.note)] : []));
    }

    function plot() {
      const sample = samples[state.sample];
      const columns = columnsOf(sample);
      const drawn = SIDE.filter((name) => columns[name] && name !== "advantages");
      const count = sample.tokens.length;
      const [width, height, left, top, bottom] = [560, 250, 44, 12, 46];
      const all = drawn.flatMap((name) => columns[name]);
      let [low, high] = [Math.min(...all, 0), Math.max(...all, 0)];
      const margin = 0.08 * (high - low) || 1;
      low -= margin;
      high += margin;
      const x = (i) => left + ((i + 0.5) / count) * (width - left - 8);
      const y = (value) => height - bottom - ((value - low) / (high - low)) * (height - top - bottom);
      const svg = draw("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "value, return and Q along the answer" });
      for (const value of [low + margin, 0, high - margin]) {
        svg.append(draw("path", { class: "grid", d: `M${left} ${y(value).toFixed(1)}H${width - 8}` }));
        svg.append(draw("text", { class: "tick", x: left - 6, y: (y(value) + 4).toFixed(1), "text-anchor": "end" }, said(value, 2)));
      }
      svg.append(draw("path", { class: "here", d: `M${x(state.token).toFixed(1)} ${top}V${height - bottom}` }));
      const styles = { values: 2, q: 3, returns: 1 };
      for (const name of drawn) {
        const line = columns[name].map((value, i) => `${x(i).toFixed(1)} ${y(value).toFixed(1)}`).join("L");
        svg.append(draw("path", { class: "curve c" + styles[name] + (name === "values" ? "" : " faint"), d: "M" + line }));
        svg.append(draw("circle", { class: "dot c" + styles[name], cx: x(state.token).toFixed(1), cy: y(columns[name][state.token]).toFixed(1), r: 3.6 }));
      }
      const every = Math.ceil(count / 12);
      sample.tokens.forEach((text, i) => {
        if (i % every && i !== state.token) return;
        if (i !== state.token && Math.abs(i - state.token) < every) return;
        const place = { class: "word", x: x(i).toFixed(1), y: height - bottom + 16, transform: `rotate(28 ${x(i).toFixed(1)} ${height - bottom + 16})` };
        svg.append(draw("text", place, text.trim().slice(0, 10)));
      });
      svg.addEventListener("pointermove", (event) => {
        const box = svg.getBoundingClientRect();
        const place = ((event.clientX - box.left) / box.width) * width;
        const i = Math.min(count - 1, Math.max(0, Math.floor(((place - left) / (width - left - 8)) * count)));
        if (i !== state.token) choose(i);
      });
      const names = { values: "value", returns: "return", q: "Q" };
      const caption = make("figcaption", {}, "along the answer");
      for (const name of drawn) caption.append(make("span", { class: "c" + styles[name] }, names[name]));
      chart.replaceChildren(...(columns.values ? [caption, svg] : []));
    }

    function branch() {
      const sample = samples[state.sample];
      const looked = Object.keys(sample.alternatives).length > 0;
      const here = sample.alternatives[state.token];
      paths.hidden = !looked;
      if (!looked) return;
      const parts = [make("h3", {}, "What else could have been said here")];
      if (!here) {
        parts.push(make("p", { class: "soft" }, "Hardly anything: no other token had a chance worth following."));
      } else {
        const taken = here.find((path) => path.taken);
        parts.push(make("p", { class: "soft small" }, "Each way was continued " + taken.paths.length + " times by the policy, and every whole answer scored."));
        for (const path of here) parts.push(pathOf(path, taken));
      }
      paths.replaceChildren(...parts);
    }

    function pathOf(path, taken) {
      const word = make("div", {}, make("div", { class: "word" }, quoted(path.text)));
      if (path.taken) word.append(make("div", { class: "taken" }, "was said"));
      word.append(make("div", { class: "soft small" }, percent(path.chance) + ", reference " + percent(path.reference_chance)));
      const worth = make("div", { class: "worth" }, "score ", make("b", {}, said(path.mean, 2)), path.paths.length > 1 ? " ± " + said(path.error, 2) : "");
      if (path.value !== null) worth.append(", the critic expects " + said(path.value, 2));
      if (!path.taken) {
        const gap = path.mean - taken.mean;
        const error = Math.hypot(path.error, taken.error);
        const chance = Math.abs(gap) <= 2 * error ? ", but that is within chance" : "";
        const words = said(Math.abs(gap), 2) + (gap > 0 ? " better" : " worse") + " than what was said" + chance;
        worth.append(make("div", { class: "small" }, words));
      }
      const list = make("ul");
      for (const one of path.paths) list.append(make("li", {}, make("b", {}, said(one.score, 2)), make("span", {}, "…" + one.text + (one.cut ? " (cut off)" : ""))));
      return make("div", { class: "path" }, word, make("div", {}, worth, list));
    }

    tokens.addEventListener("keydown", (event) => {
      const last = tokens.children.length - 1;
      const to = { ArrowRight: state.token + 1, ArrowDown: state.token + 1, ArrowLeft: state.token - 1, ArrowUp: state.token - 1, Home: 0, End: last }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      tokens.children[Math.min(last, Math.max(0, to))].focus();
    });
    pick.addEventListener("change", () => { state.sample = Number(pick.value); state.token = 0; showSample(); });
    state.token = samples[0].start || 0;
    showSample();
  }

  document.querySelectorAll("[data-scope]").forEach(open);
  // On paper everything is open.
  window.addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => { one.open = true; }));
})();
