/* The report's figures: energies, profiles, training, weights, single coordinates. */
"use strict";

const runColour = (index) => `var(--run${index % 6})`;

/** How MD, samples and reweighted samples of a run are drawn. */
const looks = {
  data: () => "stroke: var(--data); stroke-width: 1.6",
  samples: (run) => `stroke: ${runColour(run)}; stroke-width: 1.3; stroke-dasharray: 2 2.5; opacity: .8`,
  reweighted: (run) => `stroke: ${runColour(run)}; stroke-width: 1.8`,
};

function curveLegend(host, page) {
  const several = page.runs.length > 1;
  const entries = [["MD", looks.data()]];
  page.runs.forEach((run, i) => {
    const name = several ? `${run.name} ` : "";
    entries.push([`${name}samples`, looks.samples(i)], [`${name}reweighted`, looks.reweighted(i)]);
  });
  legend(host, entries);
}

const grid = (host, cls = "") => html("div", { class: `plots ${cls}` }, host);

function drawEnergies(host, page) {
  const { columns, limits: [low, high], bars } = page.energies;
  const width = Math.max(host.clientWidth / 1.12, 60 + 64 * columns.length);
  const scroll = html("div", { class: "wide", tabindex: 0, role: "region", "aria-label": "Energies" }, host);
  const plot = new Plot(scroll, {
    width, height: 340, top: 58, bottom: 50, left: 52, right: 4, xDomain: [0, columns.length], yDomain: [low, high],
    xTicks: [], yLabel: "potential energy u / kT", alt: host.dataset.alt,
  });
  plot.svg.style.minWidth = `${60 + 64 * columns.length}px`;
  svg("text", { x: plot.left, y: 14, class: "note" }, plot.front, "share below the highest MD energy (dashed)");
  for (const bar of bars) plot.level(bar, "rule dashed");
  columns.forEach((column, i) => violin(plot, column, i + 0.5));
}

function violin(plot, column, at) {
  const centre = plot.left + plot.x(at), half = Math.min(0.4 * plot.x(1), 62);
  const colour = { data: "var(--data)", noise: "var(--noise)" }[column.kind] || runColour(column.run);
  const above = svg("text", { x: centre, y: 36, class: "share", "text-anchor": "middle" }, plot.front, column.beyond === null ? "none" : percent(column.low));
  column.label.split("\n").forEach((line, i) => {
    svg("text", { x: centre, y: plot.height - 32 + 13 * i, class: "tick", "text-anchor": "middle" }, plot.front, line);
  });
  if (column.beyond > 0.0005) {
    svg("text", { x: centre, y: 50, class: "note", "text-anchor": "middle" }, plot.front, `\u25b2 ${percent(column.beyond, 2)} off scale`);
  }
  if (!column.averages) return above;
  if (column.grid) {
    const side = (sign) => column.grid.map((u, k) => [plot.x(at) + sign * half * column.density[k], plot.y(u)]);
    const points = [...side(1), ...side(-1).reverse()].map((p) => p.map((v) => v.toFixed(1)).join(" "));
    svg("path", {
      d: `M${points.join("L")}Z`, style: `fill: ${colour}; opacity: ${column.kind === "reweighted" ? 0.55 : 0.9}`,
    }, plot.panel);
  }
  const [q1, median, q3, mean] = column.averages, x = plot.x(at);
  svg("path", { d: `M${x} ${plot.y(q1)}V${plot.y(q3)}`, class: "quartiles" }, plot.panel);
  svg("path", { d: `M${x - 12} ${plot.y(mean)}h24`, class: "mean" }, plot.panel);
  svg("circle", { cx: x, cy: plot.y(median), r: 3.2, class: "median" }, plot.panel);
  const target = svg("rect", { x: x - half, y: 0, width: 2 * half, height: plot.inner[1], fill: "transparent" }, plot.panel);
  svg("title", {}, target, `${column.label.replace("\n", " ")}: mean ${short(mean, 4)}, median ${short(median, 4)}, middle half ${short(q1, 4)} to ${short(q3, 4)} kT`);
  return above;
}

function drawProfiles(host, page) {
  curveLegend(host, page);
  const panels = grid(host);
  const all = page.profiles.flat().flatMap((p) => [p.phi, p.psi]).map((c) => c.data).filter(Boolean);
  const top = Math.max(...all.flatMap((c) => c[0].filter((v) => v !== null))) + 1.5;
  for (const [label, members] of byLabel(page.profiles)) {
    for (const [angle, symbol] of [["phi", "φ"], ["psi", "ψ"]]) profilePanel(panels, page, label, members, angle, symbol, top);
  }
}

/** Panels of one label, from whichever runs have it: [label, [[run, item]]]. */
function byLabel(perRun) {
  const found = new Map();
  perRun.forEach((items, run) => items.forEach((item) => {
    if (!found.has(item.label)) found.set(item.label, []);
    found.get(item.label).push([run, item]);
  }));
  return [...found];
}

function profilePanel(host, page, label, members, angle, symbol, top) {
  const plot = new Plot(host, {
    xDomain: [-180, 180], yDomain: [-0.3, top], xTicks: [-120, -60, 0, 60, 120], xFormat: (v) => minus(`${v}°`),
    yLabel: "free energy / kT", title: `${symbol} ${label}`,
  });
  const n = members[0][1][angle].samples[0].length;
  const centres = Array.from({ length: n }, (_, i) => -180 + (i + 0.5) * 360 / n);
  for (const [run, item] of members) {
    for (const [name, [value, error]] of Object.entries(item[angle])) {
      const own = value.length === n ? centres : value.map((_, i) => -180 + (i + 0.5) * 360 / value.length);
      if (error) {
        const shift = (sign) => value.map((v, i) => (v === null ? null : v + sign * error[i]));
        plot.band(own, shift(-1), shift(1), `fill: ${name === "data" ? "var(--data)" : runColour(run)}`);
      }
      plot.line(own, value, looks[name](run));
    }
  }
  plot.hover((x) => {
    const i = Math.min(n - 1, Math.max(0, Math.floor((x + 180) * n / 360)));
    const read = Object.entries(members[0][1][angle]).map(([name, [v, e]]) =>
      `${name === "data" ? "MD" : name} ${short(v[i], 3)}${e && v[i] !== null ? ` ± ${short(e[i], 2)}` : ""}`);
    return `${minus(Math.round(centres[i]))}°: ${read.join(", ")}`;
  });
}

const PHASES = { ml: "likelihood (ML)", anneal: "annealing", kl: "energies (KL)" };
const PANELS = [
  ["likelihood loss", ["nll"], "nats"],
  ["energy loss", ["kl"], "nats"],
  ["held-out log-likelihood", ["heldout_log_likelihood"], "nats"],
  ["effective sample size, estimate", ["ess"], "share"],
  ["share of φ > 0", ["phi_positive"], "share"],
  ["temperature", ["temperature_k"], "K"],
  ["P4: ‖A·A⁻¹ − I‖ before refinement", ["p4_residual"], "log"],
];

function drawTraining(host, page) {
  const runs = page.training, several = page.runs.length > 1;
  const entries = [];
  if (several) page.runs.forEach((run, i) => entries.push([run.name, `stroke: ${runColour(i)}; stroke-width: 2`]));
  runs.forEach((t, i) => {
    const merges = Math.max(0, ...t.merges.filter((n) => n !== null));
    if (!merges) return;
    const every = t.merge_every ? `, every ${t.merge_every} steps` : "";
    entries.push([`${several ? `${page.runs[i].name} ` : ""}P4 merges (a mark for each evaluation; ${merges.toLocaleString("en")} in all${every})`,
      `stroke: ${runColour(i)}; stroke-width: 7; stroke-dasharray: 1 5`]);
  });
  if (runs.some((t) => t.phases.length > 1)) entries.push(["another loss begins", "stroke: var(--soft); stroke-dasharray: 5 4"]);
  if (entries.length) legend(host, entries);
  const panels = grid(host);
  const end = Math.max(1, ...runs.flatMap((t) => t.step));
  for (const [title, names, unit] of PANELS) {
    const shown = runs.flatMap((t) => names.map((name) => t.curves[name] || []));
    const values = shown.flat().filter((v) => v !== null);
    if (!values.length || (unit === "K" && Math.max(...values) === Math.min(...values))) continue;
    trainingPanel(panels, page, title, names, unit, shown, end);
  }
}

function trainingPanel(host, page, title, names, unit, shown, end) {
  const log = unit === "log", positive = shown.flat().filter((v) => v > 0);
  if (log && !positive.length) return;
  const markers = page.training.map((t) => t.phi_positive_md).filter((v) => v !== null);
  let yDomain = bulk(names[0] === "phi_positive" ? [...shown, markers] : shown);
  if (unit === "share") yDomain = [0, Math.min(1, yDomain[1] * 1.05)];
  if (log) yDomain = [10 ** Math.floor(Math.log10(Math.min(...positive))), 10 ** Math.ceil(Math.log10(Math.max(...positive)) + 1e-9)];
  const plot = new Plot(host, {
    title, xDomain: [0, end], yDomain, yLog: log, xLabel: "optimizer step", bottom: 46,
    yLabel: unit === "log" || unit === "share" ? "" : unit, yFormat: unit === "share" ? (v) => percent(v, 3) : undefined,
  });
  if (names[0] === "phi_positive" && markers.length) plot.level(markers[0], "rule dotted", "MD");
  page.training.forEach((t, run) => {
    phaseMarks(plot, t, run === 0);
    mergeMarks(plot, t, run, page.training.length);
    names.forEach((name, i) => {
      if (!t.curves[name]) return;
      const there = t.step.map((_, k) => k).filter((k) => t.curves[name][k] !== null);
      plot.line(there.map((k) => t.step[k]), there.map((k) => t.curves[name][k]),
        `stroke: ${runColour(run)}; stroke-width: 1.7${i ? "; stroke-dasharray: 5 3" : ""}`);
    });
  });
  plot.hover((x) => {
    const t = page.training[0], k = nearest(t.step, x);
    const read = names.filter((name) => t.curves[name]).map((name) => short(t.curves[name][k], 4));
    return `step ${short(t.step[k], 6)}: ${read.join(", ")}${t.merges[k] !== null ? `; ${short(t.merges[k], 6)} merges` : ""}`;
  });
}

function nearest(values, x) {
  let best = 0;
  values.forEach((v, i) => { if (Math.abs(v - x) < Math.abs(values[best] - x)) best = i; });
  return best;
}

/** A dashed line and a word where the training goes over to another loss. */
function phaseMarks(plot, training, named) {
  training.phases.forEach(({ phase, step }, i) => {
    if (i) plot.rule(step, "rule dashed");
    if (!named) return;
    const next = training.phases[i + 1] ? training.phases[i + 1].step : plot.xDomain[1];
    const text = plot.note(plot.x(step) + 4, 10, PHASES[phase] || phase);
    if (text.getComputedTextLength() > plot.x(next) - plot.x(step) - 6) text.textContent = { ml: "ML", kl: "KL" }[phase] || "";
  });
}

/** A tick under the axis for each evaluation before which P4 updates were merged. */
function mergeMarks(plot, training, run, runs) {
  const y = plot.top + plot.inner[1] - 1, height = 5 / runs;
  let before = 0, path = "";
  training.merges.forEach((count, i) => {
    if (count !== null && count > before) path += `M${(plot.left + plot.x(training.step[i])).toFixed(1)} ${y - run * height}v${-height}`;
    before = count ?? before;
  });
  if (path) svg("path", { d: path, class: "merge", style: `stroke: ${runColour(run)}` }, plot.front);
}

function drawWeights(host, page) {
  const there = page.weights.map((w, i) => [w, i]).filter(([w]) => w);
  if (!there.length) return;
  const entries = there.length > 1 ? there.map(([, i]) => [page.runs[i].name, looks.reweighted(i)]) : [];
  legend(host, [...entries, ["raw", "stroke: var(--soft); stroke-width: 1.8"], ["largest weights clipped", "stroke: var(--soft); stroke-width: 1.5; stroke-dasharray: 2 2.5"]]);
  const panels = grid(host);
  const xDomain = [Math.min(...there.map(([w]) => w.edges[0])), Math.max(0.5, ...there.map(([w]) => w.edges[1]))];
  const plot = new Plot(panels, {
    title: "weights", xDomain, yDomain: [0.7, 2 * Math.max(...there.flatMap(([w]) => w.counts))], yLog: true,
    xLabel: "ln(N w)", yLabel: "samples",
  });
  for (const [w, run] of there) {
    plot.steps(...w.edges, w.counts, `fill: ${runColour(run)}; opacity: .3`, true);
    plot.steps(...w.edges, w.counts, `stroke: ${runColour(run)}; stroke-width: 1.2`);
  }
  plot.rule(0, "rule dashed");
  const sizes = there.flatMap(([w]) => w.m);
  const growth = new Plot(panels, {
    title: "effective sample size", xDomain: [Math.min(...sizes), Math.max(...sizes, Math.min(...sizes) + 1)], xLog: true,
    yDomain: [0, Math.min(1, 1.3 * Math.max(1e-3, ...there.flatMap(([w]) => [...w.raw, ...w.clipped])))],
    xLabel: "first m samples", yFormat: (v) => percent(v, 3),
  });
  for (const [w, run] of there) {
    growth.line(w.m, w.raw, looks.reweighted(run));
    growth.line(w.m, w.clipped, looks.samples(run));
  }
  growth.hover((x) => {
    const [w] = there[0], k = nearest(w.m.map(Math.log), Math.log(x));
    return `first ${short(w.m[k], 6)}: ${percent(w.raw[k])}, clipped ${percent(w.clipped[k])}`;
  });
}

/** The open bins at both ends, shaded. */
function outerBins(plot, low, high, n) {
  const width = plot.x(low + (high - low) / n) - plot.x(low);
  for (const x of [plot.x(low), plot.x(high) - width]) {
    svg("rect", { x, y: 0, width, height: plot.inner[1], style: "fill: var(--soft); opacity: .18" }, plot.panel);
  }
}

const SHOWN = innerWidth < 700 ? 6 : 12;

/** Small multiples of single coordinates, the farthest from MD first. */
function drawMarginals(host, page, kinds) {
  curveLegend(host, page);
  const items = byLabel(page.marginals.map((of) => kinds.flatMap((kind) => of[kind].map((item) => ({ ...item, kind })))));
  const worst = ([, members]) => Math.max(...members.map(([, item]) => item.tv[0] ?? -1));
  items.sort((a, b) => worst(b) - worst(a));
  const panels = grid(host, "small");
  const draw = (some) => some.forEach(([label, members]) => marginalPanel(panels, page, label, members));
  draw(items.slice(0, SHOWN));
  if (items.length <= SHOWN) return;
  const button = html("button", { type: "button" }, host, `Show all ${items.length}`);
  button.addEventListener("click", () => { draw(items.slice(SHOWN)); button.remove(); });
}

function marginalPanel(host, page, label, members) {
  const kind = members[0][1].kind, torsion = kind === "torsion";
  const ends = members.map(([, item]) => {
    const [low, high] = item.range, step = torsion ? 0 : (high - low) / (item.data.length - 2);
    return [low - step, high + step];
  });
  const xDomain = [Math.min(...ends.map((e) => e[0])), Math.max(...ends.map((e) => e[1]))];
  const densities = members.map(([, item], k) => {
    const width = (ends[k][1] - ends[k][0]) / item.data.length;
    return Object.fromEntries(["data", "samples", "reweighted"].map((n) => [n, item[n].map((v) => (v ?? 0) / width)]));
  });
  const top = Math.max(...densities.flatMap((d) => Object.values(d).flat()));
  const cell = html("div", {}, host);
  const plot = new Plot(cell, {
    width: 300, height: kind === "bond" ? 172 : 156, left: 12, right: 12, top: 26, bottom: kind === "bond" ? 40 : 24, xDomain, yDomain: [0, 1.05 * top || 1], yTicks: [],
    title: label, xTicks: torsion ? DEGREES : niceTicks(...xDomain, 3),
    xFormat: torsion ? (v) => minus(`${v}°`) : (v) => `${short(v, 4)}${kind === "bond" ? "" : "°"}`, xLabel: kind === "bond" ? "nm" : "",
  });
  members.forEach(([run], k) => {
    if (k === 0 && !torsion) outerBins(plot, ...ends[0], members[0][1].data.length);
    if (k === 0) plot.steps(...ends[k], densities[k].data, "fill: var(--data); opacity: .16", true);
    plot.steps(...ends[k], densities[k].data, looks.data());
    plot.steps(...ends[k], densities[k].samples, looks.samples(run));
    plot.steps(...ends[k], densities[k].reweighted, looks.reweighted(run));
  });
  members.forEach(([run, item]) => {
    const [tv, floor, weighted, weightedFloor, halves] = item.tv.map((v) => short(v, 2));
    const name = members.length > 1 ? `${page.runs[run].name}: ` : "";
    html("p", { class: "distance" }, cell, `${name}TV ${tv} (floor ${floor}), by weight ${weighted} (${weightedFloor}); MD's halves ${halves}`);
  });
}
