/* Axes, lines, areas and rules in SVG; colours come from report.css. */
"use strict";

const SVG_NAMESPACE = "http://www.w3.org/2000/svg";

/** An SVG element; text goes in as text, never as markup. */
function svg(tag, attributes = {}, parent = null, text = null) {
  const element = document.createElementNS(SVG_NAMESPACE, tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== null) element.textContent = text;
  if (parent) parent.appendChild(element);
  return element;
}

/** The same for HTML. */
function html(tag, attributes = {}, parent = null, text = null) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== null) element.textContent = text;
  if (parent) parent.appendChild(element);
  return element;
}

const minus = (text) => String(text).replace("-", "\u2212");

/** A number to so many digits, with a true minus sign and without trailing zeros. */
function short(value, digits = 3) {
  if (value === null || !Number.isFinite(value)) return "\u2013";
  if (value !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e6)) {
    return minus(value.toExponential(digits - 1).replace("e+", "e"));
  }
  if (Math.abs(value) >= 1000) return minus(Math.round(value).toLocaleString("en"));
  return minus(Number(value.toPrecision(digits)));
}

const percent = (share, digits = 3) => share === null ? "\u2013" : `${short(100 * share, digits)}\u202f%`;

/** Round numbers between two ends, about `n` of them. */
function niceTicks(low, high, n = 5) {
  const rough = (high - low) / Math.max(n, 1);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((f) => f * power).find((s) => s >= rough * 0.999) || rough;
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) ticks.push(i * step + 0);
  return ticks;
}

const DEGREES = [-120, 0, 120];

/** Numbers as far apart as these ticks, each with the decimals that tell them apart. */
function tickFormat(ticks) {
  const step = ticks.length > 1 ? Math.abs(ticks[1] - ticks[0]) : Math.abs(ticks[0]) || 1;
  const digits = Math.min(Math.max(0, -Math.floor(Math.log10(step) + 1e-9)), 6);
  return (v) => minus(v.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits }));
}

const SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹";

/** A power of ten: 1, 10 to 100,000, or with an exponent. */
function powerFormat(value) {
  const power = Math.round(Math.log10(value));
  if (power >= 0 && power < 6) return value.toLocaleString("en", { maximumFractionDigits: 0 });
  return `10${power < 0 ? "⁻" : ""}${[...String(Math.abs(power))].map((d) => SUPERSCRIPTS[d]).join("")}`;
}

/** Ends of several arrays' finite numbers, a steep first descent left out where there are many. */
function bulk(arrays) {
  let low = Infinity, high = -Infinity;
  for (const array of arrays) {
    const values = array.filter((v) => v !== null && Number.isFinite(v)).sort((a, b) => a - b);
    if (!values.length) continue;
    const at = (q) => values[Math.round(q * (values.length - 1))];
    const margin = values.length < 10 ? Infinity : 0.5 * (at(0.95) - at(0.05));
    low = Math.min(low, Math.max(values[0], at(0.05) - margin));
    high = Math.max(high, Math.min(values[values.length - 1], at(0.95) + margin));
  }
  if (low > high) return [0, 1];
  const pad = 0.08 * (high - low) || Math.max(Math.abs(high), 1) * 0.1;
  return [low - pad, high + pad];
}

/** One panel: a frame, two axes, and marks that are clipped to it. */
class Plot {
  constructor(host, options) {
    const o = { width: 440, height: 250, left: 60, right: 14, top: 30, bottom: 42, ...options };
    Object.assign(this, o);
    this.inner = [o.width - o.left - o.right, o.height - o.top - o.bottom];
    this.svg = svg("svg", {
      viewBox: `0 0 ${o.width} ${o.height}`, class: "chart", role: "img",
      "aria-label": o.alt || o.title || "",
    }, host);
    this.back = svg("g", {}, this.svg);
    this.panel = svg("svg", {
      x: o.left, y: o.top, width: this.inner[0], height: this.inner[1],
      viewBox: `0 0 ${this.inner[0]} ${this.inner[1]}`,
    }, this.svg);
    this.front = svg("g", { "pointer-events": "none" }, this.svg);
    this.#axes();
    if (o.title) svg("text", { x: o.left, y: 16, class: "title" }, this.front, o.title);
  }

  x(value) {
    const [low, high] = this.xDomain;
    const at = this.xLog ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low);
    return at * this.inner[0];
  }

  y(value) {
    const [low, high] = this.yDomain;
    const at = this.yLog ? Math.log(Math.max(value, low) / low) / Math.log(high / low) : (value - low) / (high - low);
    return (1 - at) * this.inner[1];
  }

  #axes() {
    const { left, top, inner: [w, h] } = this;
    const ys = this.yTicks || (this.yLog ? powers(this.yDomain) : niceTicks(...this.yDomain, h / 42));
    svg("path", { d: ys.length ? `M${left} ${top}V${top + h}H${left + w}` : `M${left} ${top + h}h${w}`, class: "frame" }, this.back);
    const xs = this.xTicks || (this.xLog ? powers(this.xDomain) : niceTicks(...this.xDomain, w / 75));
    const xFormat = this.xFormat || (this.xLog ? powerFormat : tickFormat(xs));
    for (const tick of xs) {
      const at = left + this.x(tick);
      svg("path", { d: `M${at} ${top + h}v4`, class: "frame" }, this.back);
      const anchor = at > this.width - 22 ? "end" : "middle";
      svg("text", { x: anchor === "end" ? this.width : at, y: top + h + 16, class: "tick", "text-anchor": anchor }, this.back, xFormat(tick));
    }
    const yFormat = this.yFormat || (this.yLog ? powerFormat : tickFormat(ys));
    for (const tick of ys) {
      const at = top + this.y(tick);
      svg("path", { d: `M${left} ${at}h${w}`, class: "grid" }, this.back);
      svg("text", { x: left - 7, y: at + 3.5, class: "tick", "text-anchor": "end" }, this.back, yFormat(tick));
    }
    if (this.xLabel) svg("text", { x: left + w / 2, y: top + h + 34, class: "axis", "text-anchor": "middle" }, this.back, this.xLabel);
    if (this.yLabel) {
      const transform = `translate(11 ${top + h / 2}) rotate(-90)`;
      svg("text", { transform, class: "axis", "text-anchor": "middle" }, this.back, this.yLabel);
    }
  }

  #path(xs, ys) {
    let path = "", pen = false;
    xs.forEach((x, i) => {
      if (ys[i] === null || ys[i] === undefined) { pen = false; return; }
      path += `${pen ? "L" : "M"}${this.x(x).toFixed(1)} ${this.y(ys[i]).toFixed(1)}`;
      pen = true;
    });
    return path;
  }

  line(xs, ys, style = "", cls = "") {
    return svg("path", { d: this.#path(xs, ys), class: `line ${cls}`, style }, this.panel);
  }

  /** Between two curves; where either is missing there is a gap. */
  band(xs, lows, highs, style = "") {
    let run = [];
    const flush = () => {
      if (run.length > 1) {
        const points = [...run.map((i) => [xs[i], highs[i]]), ...run.reverse().map((i) => [xs[i], lows[i]])];
        svg("path", {
          d: points.map(([x, y], i) => `${i ? "L" : "M"}${this.x(x).toFixed(1)} ${this.y(y).toFixed(1)}`).join("") + "Z",
          class: "band", style,
        }, this.panel);
      }
      run = [];
    };
    xs.forEach((_, i) => (lows[i] === null || highs[i] === null ? flush() : run.push(i)));
    flush();
  }

  /** Heights over equal bins; a path of steps, filled where asked for. */
  steps(low, high, heights, style, filled = false) {
    const step = (high - low) / heights.length;
    let path = filled ? `M${this.x(low)} ${this.y(this.yDomain[0])}` : "";
    heights.forEach((height, i) => {
      const y = this.y(height ?? 0).toFixed(1);
      path += `${path ? "L" : "M"}${this.x(low + i * step).toFixed(1)} ${y}H${this.x(low + (i + 1) * step).toFixed(1)}`;
    });
    if (filled) path += `V${this.y(this.yDomain[0])}Z`;
    return svg("path", { d: path, class: filled ? "fill" : "line", style }, this.panel);
  }

  rule(x, cls = "rule") {
    svg("path", { d: `M${this.x(x)} 0V${this.inner[1]}`, class: cls }, this.panel);
  }

  level(y, cls = "rule", text = "") {
    svg("path", { d: `M0 ${this.y(y)}H${this.inner[0]}`, class: cls }, this.panel);
    if (text) this.note(this.inner[0] - 4, this.y(y) - 4, text, "end");
  }

  note(x, y, text, anchor = "start", cls = "note") {
    return svg("text", { x, y, class: cls, "text-anchor": anchor }, this.panel, text);
  }

  /** A rule that follows the pointer, and a line of text over the panel. */
  hover(words) {
    const rule = svg("path", { class: "cursor", visibility: "hidden" }, this.panel);
    const text = svg("text", { x: this.width - this.right, y: 16, class: "read", "text-anchor": "end" }, this.front);
    const title = this.front.querySelector(".title");
    svg("rect", { width: this.inner[0], height: this.inner[1], fill: "transparent" }, this.panel);
    this.panel.addEventListener("pointermove", (event) => {
      const x = this.#pointer(event)[0];
      const [low, high] = this.xDomain, at = x / this.inner[0];
      const value = this.xLog ? low * (high / low) ** at : low + at * (high - low);
      rule.setAttribute("d", `M${x} 0V${this.inner[1]}`);
      rule.setAttribute("visibility", "visible");
      text.textContent = words(value);
      if (title) title.style.opacity = text.getComputedTextLength() + title.getComputedTextLength() > this.width - this.left - this.right - 8 ? 0 : 1;
    });
    this.panel.addEventListener("pointerleave", () => {
      rule.setAttribute("visibility", "hidden");
      text.textContent = "";
      if (title) title.style.opacity = 1;
    });
  }

  #pointer(event) {
    const box = this.svg.getBoundingClientRect(), zoom = this.width / box.width;
    return [(event.clientX - box.left) * zoom - this.left, (event.clientY - box.top) * zoom - this.top];
  }

  /** Where in the panel's own units an event is: x and y values. */
  at(event) {
    const [x, y] = this.#pointer(event);
    const value = ([low, high], share) => low + share * (high - low);
    return [value(this.xDomain, x / this.inner[0]), value(this.yDomain, 1 - y / this.inner[1])];
  }
}

/** Powers of ten between two ends. */
function powers([low, high]) {
  const found = [];
  for (let p = Math.ceil(Math.log10(low) - 1e-9); p <= Math.log10(high) + 1e-9; p++) found.push(10 ** p);
  return found.length > 6 ? found.filter((_, i) => i % 2 === 0) : found;
}

/** Lines of a legend: [text, style] pairs, once for all panels of a figure. */
function legend(host, entries) {
  const list = html("div", { class: "legend" }, host);
  for (const [text, style] of entries) {
    const item = html("span", {}, list);
    const key = svg("svg", { viewBox: "0 0 26 8", width: 26, height: 8, "aria-hidden": "true" }, item);
    svg("path", { d: "M1 4H25", class: "line", style }, key);
    item.appendChild(document.createTextNode(text));
  }
}
