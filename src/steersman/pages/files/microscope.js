"use strict";
// The token microscope: one answer, its tokens coloured by a PPO quantity, and all numbers of the selected token.
// No libraries, and no markup in strings: model text is inserted as text, never as HTML.
(() => {
  const NAMES = [
    ["values", "value", "the critic's value V before this token"],
    ["q", "Q", "the token's reward plus the discounted value after it"],
    ["returns", "return", "the estimated return from this token on, the critic's training target"],
    ["advantages", "advantage", "the advantage of the token, as the update used it"],
    ["rewards", "reward", "the reward of this token: the KL penalty, and the score at the last token"],
    ["kl", "KL", "the estimated KL from the reference at this token, in nats"],
    ["ratio", "ratio", "the token's probability under the policy divided by that under the reference"],
    ["log_probs", "log-prob", "log-probability of the token under the policy"],
    ["reference_log_probs", "log-prob, reference", "log-probability of the token under the reference"],
    ["entropies", "entropy", "the entropy of the policy at this position, in nats"],
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
  const shown = (number, places = 3) => {
    const text = number.toFixed(places);
    return Number(text) === 0 ? text.replace("-", "") : text.replace("-", "−");
  };
  const signed = (number, places = 2) => (number > 0 ? "+" : "") + shown(number, places);
  const quoted = (text) => "“" + (text.trim() || text).replace(/\n/g, "↵") + "”";
  const percent = (share) => (share < 0.01 ? "under 1" : Math.round(share * 100)) + " %";

  function columnsOf(sample) {
    const columns = { ...sample.columns };
    columns.ratio = columns.log_probs.map((value, i) => Math.exp(value - columns.reference_log_probs[i]));
    return columns;
  }

  // Colour intensity of each token, from -1 to 1. Rewards and KL are large at one token and small at the others, so
  // their square root is used; a ratio is coloured by its logarithm.
  function strengths(name, column) {
    const root = (value) => Math.sign(value) * Math.sqrt(Math.abs(value));
    const shaped = column.map((value) =>
      name === "ratio" ? Math.log(value) : name === "rewards" || name === "kl" ? root(value) : value);
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
    const tokens = make("div", {
      class: "tokens",
      role: "listbox",
      "aria-label": "tokens of the answer; arrow keys move",
      "aria-orientation": "horizontal",
    });
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
        const title = NAMES.find((one) => one[0] === name)[1];
        choices.append(make("label", { class: "choice" }, input, make("span", {}, title)));
      }
      tokens.replaceChildren(...sample.tokens.map((text, i) => {
        const attributes = { class: "token", role: "option", id: "token-" + number + "-" + i };
        const token = make("span", attributes, text.replace(/\n/g, "↵\n"));
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
        ? ["less likely than under the reference", "more likely, at most " + shown(high, 2) + "×"]
        : one ? ["0", shown(high)] : [shown(-most), shown(most)];
      const gradient = make("i", { class: one ? "one" : "" });
      scale.replaceChildren(make("span", {}, ends[0]), gradient, make("span", {}, ends[1]));
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
      for (const [name, title, meaning] of NAMES) {
        if (!columns[name]) continue;
        const value = shown(columns[name][state.token], 4);
        const attributes = { title: meaning, "data-column": name };
        if (SIDE.includes(name)) four.append(make("div", attributes, make("dt", {}, title), make("dd", {}, value)));
        else body.append(make("tr", attributes, make("th", { scope: "row" }, title), make("td", {}, value)));
      }
      const place = ", token " + (state.token + 1) + " of " + sample.tokens.length;
      const parts = [make("h3", {}, quoted(sample.tokens[state.token]) + place)];
      if (columns.values) {
        const before = columns.values[state.token];
        const last = state.token + 1 === sample.tokens.length;
        const sentence = last
          ? "Value " + shown(before) + "; the answer ends here, and its score is " + shown(sample.score, 2) + "."
          : "Value before it " + shown(before) + ", after it " + shown(columns.values[state.token + 1]) + ": "
            + signed(columns.values[state.token + 1] - before, 3) + " by this token.";
        parts.push(make("p", { class: "turn" }, sentence));
      }
      reading.replaceChildren(...parts, four);
      const note = sample.note ? [make("p", { class: "soft small" }, sample.note)] : [];
      rest.replaceChildren(make("table", {}, body), ...note);
    }

    function plot() {
      const sample = samples[state.sample];
      const columns = columnsOf(sample);
      const drawn = SIDE.filter((name) => columns[name] && name !== "advantages");
      const count = sample.tokens.length;
      // As wide as its place, so that a unit is a pixel and labels keep their size.
      const width = Math.max(240, chart.clientWidth || 560) - 1;
      const [height, left, top, bottom] = [250, 44, 12, 52];
      const all = drawn.flatMap((name) => columns[name]);
      let [low, high] = [Math.min(...all, 0), Math.max(...all, 0)];
      const margin = 0.08 * (high - low) || 1;
      low -= margin;
      high += margin;
      const x = (i) => left + ((i + 0.5) / count) * (width - left - 8);
      const y = (value) => height - bottom - ((value - low) / (high - low)) * (height - top - bottom);
      const svg = draw("svg", {
        class: "chart",
        viewBox: `0 0 ${width} ${height}`,
        role: "img",
        "aria-label": "value, return and Q along the answer",
      });
      for (const value of [low + margin, 0, high - margin]) {
        svg.append(draw("path", { class: "grid", d: `M${left} ${y(value).toFixed(1)}H${width - 8}` }));
        const tick = { class: "tick", x: left - 6, y: (y(value) + 4).toFixed(1), "text-anchor": "end" };
        svg.append(draw("text", tick, shown(value, 2)));
      }
      svg.append(draw("path", { class: "here", d: `M${x(state.token).toFixed(1)} ${top}V${height - bottom}` }));
      const styles = { values: 2, q: 3, returns: 1 };
      for (const name of drawn) {
        const line = columns[name].map((value, i) => `${x(i).toFixed(1)} ${y(value).toFixed(1)}`).join("L");
        const curve = "curve c" + styles[name] + (name === "values" ? "" : " faint");
        const [cx, cy] = [x(state.token).toFixed(1), y(columns[name][state.token]).toFixed(1)];
        svg.append(draw("path", { class: curve, d: "M" + line }));
        svg.append(draw("circle", { class: "dot c" + styles[name], cx, cy, r: 3.6 }));
      }
      const every = Math.ceil((count * 44) / (width - left));
      sample.tokens.forEach((text, i) => {
        if (i % every && i !== state.token) return;
        if (i !== state.token && Math.abs(i - state.token) < every) return;
        const [across, down] = [x(i).toFixed(1), height - bottom + 16];
        const place = { class: "word", x: across, y: down, transform: `rotate(28 ${across} ${down})` };
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
      const parts = [make("h3", {}, "Alternatives to this token")];
      if (!here) {
        parts.push(make("p", { class: "soft" }, "None: no other token was probable enough."));
      } else {
        const taken = here.find((path) => path.taken);
        const note = "The policy continued each alternative " + taken.paths.length + " times; every answer was scored.";
        parts.push(make("p", { class: "soft small" }, note));
        for (const path of here) parts.push(pathOf(path, taken));
      }
      paths.replaceChildren(...parts);
    }

    function pathOf(path, taken) {
      const word = make("div", {}, make("div", { class: "word" }, quoted(path.text)));
      if (path.taken) word.append(make("div", { class: "taken" }, "sampled"));
      const chances = percent(path.chance) + ", reference " + percent(path.reference_chance);
      word.append(make("div", { class: "soft small" }, chances));
      const spread = path.paths.length > 1 ? " ± " + shown(path.error, 2) : "";
      const worth = make("div", { class: "worth" }, "score ", make("b", {}, shown(path.mean, 2)), spread);
      if (path.value !== null) worth.append(", value " + shown(path.value, 2));
      if (!path.taken) {
        const gap = path.mean - taken.mean;
        const error = Math.hypot(path.error, taken.error);
        const chance = Math.abs(gap) <= 2 * error ? " (not significant)" : "";
        const change = shown(Math.abs(gap), 2) + (gap > 0 ? " better" : " worse");
        const sentence = change + " than the sampled token" + chance;
        worth.append(make("div", { class: "small" }, sentence));
      }
      const list = make("ul");
      for (const one of path.paths) {
        const text = "…" + one.text + (one.cut ? " (cut off)" : "");
        list.append(make("li", {}, make("b", {}, shown(one.score, 2)), make("span", {}, text)));
      }
      return make("div", { class: "path" }, word, make("div", {}, worth, list));
    }

    tokens.addEventListener("keydown", (event) => {
      const last = tokens.children.length - 1;
      const [before, after] = [state.token - 1, state.token + 1];
      const keys = { ArrowRight: after, ArrowDown: after, ArrowLeft: before, ArrowUp: before, Home: 0, End: last };
      const to = keys[event.key];
      if (to === undefined) return;
      event.preventDefault();
      tokens.children[Math.min(last, Math.max(0, to))].focus();
    });
    pick.addEventListener("change", () => { state.sample = Number(pick.value); state.token = 0; showSample(); });
    state.token = samples[0].start || 0;
    showSample();
    // The chart's width changes with the window, and when a collapsed part is opened.
    let drawnAt = chart.clientWidth;
    new ResizeObserver(() => {
      if (chart.clientWidth && chart.clientWidth !== drawnAt) { drawnAt = chart.clientWidth; plot(); }
    }).observe(chart);
  }

  let opened = 0;
  const openIn = (place) => place.querySelectorAll("[data-scope]").forEach((scope) => open(scope, opened++));
  openIn(document);
  // The studio puts parts into a page that is open already.
  document.addEventListener("steersman:parts", (event) => openIn(event.detail));
  // Collapsed parts are opened for printing.
  window.addEventListener("beforeprint", () => {
    document.querySelectorAll("details").forEach((one) => { one.open = true; });
  });
})();
