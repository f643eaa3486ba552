// Curves that grow: uPlot in the look of a report's charts. Names are text, never HTML.
const HEIGHT = 216;
const MOST_MORE = 600;

const make = (name, attributes, ...children) => {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) node.setAttribute(key, value);
  node.append(...children);
  return node;
};

// A colour of the page as the canvas takes it; forgotten when the theme changes.
const known = new Map();
let probe;
const colour = (name, share = 1) => {
  const key = `${name} ${share}`;
  if (!known.has(key)) {
    probe ??= document.body.appendChild(make("span", { hidden: "" }));
    probe.style.color = `color-mix(in srgb, var(--${name}) ${share * 100}%, transparent)`;
    known.set(key, getComputedStyle(probe).color);
  }
  return known.get(key);
};

const shown = (value) => {
  if (value === null || value === undefined) return "–";
  const text = Math.abs(value) >= 1e5 || (value !== 0 && Math.abs(value) < 1e-3) ? value.toExponential(1) : String(Number(value.toPrecision(4)));
  return text.replace("-", "−");
};

class Chart {
  constructor(place, spec, { x, first = 1, legend = true }) {
    this.spec = spec;
    this.x = x;
    this.first = first;
    this.more = 0;
    this.curves = spec.curves.map((curve) => ({ ...curve, ranged: Boolean(curve.low) }));
    this.data = [spec.x.slice(), ...this.curves.flatMap((one) => (one.ranged ? [one.mean, one.low, one.high] : [one.mean]))];
    const caption = make("figcaption", {}, spec.title);
    this.curves.forEach((one, i) => {
      if (legend && this.curves.length > 1) caption.append(make("span", { class: `c${i + first}` }, one.name));
    });
    if (spec.band) caption.append(make("span", { class: "healthy" }, "healthy"));
    this.plot = make("div", { class: "plot", role: "img" });
    this.said = make("p", { class: "reading-of soft small", "aria-hidden": "true" });
    place.append(make("figure", { "data-key": spec.key }, caption, this.plot, this.said));
    this.label();
    this.draw();
    new ResizeObserver(() => this.resize()).observe(this.plot);
  }

  label() {
    const told = this.curves.map((one, i) => {
      const values = this.data[this.place(i)].filter((value) => value !== null);
      return values.length ? `${one.name} from ${shown(values[0])} to ${shown(values[values.length - 1])}` : one.name;
    });
    this.plot.setAttribute("aria-label", `${this.spec.title}: ${told.join("; ")}`);
  }

  // The column of a curve's means.
  place(curve) {
    return 1 + this.curves.slice(0, curve).reduce((sum, one) => sum + (one.ranged ? 3 : 1), 0);
  }

  draw() {
    const series = [{}];
    const bands = [];
    this.curves.forEach((one, i) => {
      const name = `curve-${i + this.first}`;
      const few = () => this.data[this.place(i)].reduce((sum, value) => sum + (value !== null), 0) <= 80;
      series.push({
        stroke: () => colour(name), width: i && this.curves.length > 1 ? 2 : 1.6, spanGaps: true,
        points: { show: () => few(), size: 5, fill: () => colour(name), stroke: () => colour(name) },
      });
      if (!one.ranged) return;
      const hidden = { stroke: "transparent", width: 0, spanGaps: true, points: { show: false } };
      series.push(hidden, { ...hidden });
      bands.push({ series: [this.place(i) + 2, this.place(i) + 1], fill: () => colour(name, 0.22) });
    });
    const axis = {
      stroke: () => colour("ink-soft"), font: "12px system-ui, sans-serif", ticks: { show: false },
      grid: { stroke: () => colour("line"), width: 1 },
    };
    const options = {
      width: this.width(), height: HEIGHT, legend: { show: false }, series, bands,
      scales: { x: { time: false }, y: { range: (u, low, high) => this.range(low, high) } },
      axes: [
        { ...axis, grid: { show: false }, size: 30, values: (u, found) => found.map((one) => (Number.isInteger(one) ? shown(one) : "")) },
        { ...axis, size: 46, values: (u, found) => found.map(shown) },
      ],
      cursor: { points: { size: 7 }, drag: { x: true, y: false }, sync: { key: "steersman" } },
      hooks: { drawClear: [(u) => this.band(u)], setCursor: [(u) => this.read(u)] },
    };
    this.u = new window.uPlot(options, this.data, this.plot);
    this.read(this.u);
  }

  width() {
    return Math.max(120, this.plot.clientWidth);
  }

  range(low, high) {
    if (low === null || high === null) return [0, 1];
    const margin = 0.08 * (high - low) || 0.1 * Math.abs(high) || 1;
    return [low - margin, high + margin];
  }

  band(u) {
    if (!this.spec.band) return;
    const { left, top, width, height } = u.bbox;
    const [low, high] = this.spec.band.map((value) => Math.min(top + height, Math.max(top, u.valToPos(value, "y", true))));
    u.ctx.save();
    u.ctx.fillStyle = colour("healthy");
    u.ctx.fillRect(left, high, width, low - high);
    u.ctx.restore();
  }

  read(u) {
    const at = u.cursor.idx ?? this.data[0].length - 1;
    if (at < 0) return;
    const values = this.curves.map((one, i) => {
      let row = at;
      const column = this.data[this.place(i)];
      while (row > 0 && column[row] === null) row -= 1;
      return shown(column[row]);
    });
    const said = values.map((value, i) => (values.length > 1 ? make("span", { class: `c${i + this.first}` }, value) : value));
    this.said.replaceChildren(`${this.x} ${shown(this.data[0][at])}: `, ...said);
  }

  // New points of its metrics, (step, value) pairs by name. Returns whether any was its own.
  add(rows) {
    let mine = false;
    this.curves.forEach((one, i) => {
      for (const [step, value] of rows[one.key] || []) {
        mine = true;
        let row = this.data[0].length - 1;
        while (row >= 0 && this.data[0][row] > step) row -= 1;
        if (row < 0 || this.data[0][row] < step) {
          row += 1;
          this.data[0].splice(row, 0, step);
          for (let column = 1; column < this.data.length; column += 1) this.data[column].splice(row, 0, null);
          this.more += 1;
        }
        this.data[this.place(i)][row] = value;
      }
    });
    if (mine) {
      this.u.setData(this.data);
      this.read(this.u);
      this.label();
    }
    return mine;
  }

  resize() {
    if (this.plot.clientWidth && this.width() !== this.u.width) this.u.setSize({ width: this.width(), height: HEIGHT });
  }
}

// All charts of a page, in one place.
export class Charts {
  constructor(place, more = {}) {
    this.place = place;
    this.given = more;
    this.charts = [];
    const again = () => {
      known.clear();
      for (const one of this.charts) one.u.redraw(false);
    };
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
    new MutationObserver(again).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  }

  show(specs, x) {
    for (const one of this.charts) one.u.destroy();
    this.place.replaceChildren();
    this.charts = specs.map((spec) => new Chart(this.place, spec, { x, ...this.given }));
  }

  add(rows) {
    for (const one of this.charts) one.add(rows);
  }

  get full() {
    return this.charts.some((one) => one.more > MOST_MORE);
  }
}
