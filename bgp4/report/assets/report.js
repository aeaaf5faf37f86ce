/* The page: figures from the embedded data, the maps and the viewer that they lead to, the theme. */
"use strict";

const report = { page: JSON.parse(document.getElementById("report-data").textContent) };

/** The part about conformations: a site's maps or histogram, and the viewer. */
class Explorer {
  constructor(host, page) {
    this.page = page;
    this.host = host;
    this.head = html("div", { class: "controls" }, host);
    this.maps = html("div", { class: "maps" }, host);
    const under = html("div", { class: "under" }, host);
    this.bar = html("div", { class: "bar" }, under);
    this.words = html("p", { class: "words" }, under);
    const lower = html("div", { class: "lower" }, host);
    const left = html("div", { class: "facts" }, lower), right = html("div", { class: "stage" }, lower);
    this.said = html("p", { class: "said", "aria-live": "polite" }, left);
    this.table = html("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Basins" }, left);
    const box = html("div", { class: "viewer", role: "img", "aria-label": "Three-dimensional view of the chosen conformation" }, right);
    this.viewer = new Viewer(box, page);
    this.#options(right);
    this.#chooser();
    this.open(0);
  }

  #options(host) {
    const bar = html("div", { class: "controls" }, host);
    for (const [name, text] of [["data", "MD frame"], ["hydrogens", "hydrogens"]]) {
      const label = html("label", {}, bar), box = html("input", { type: "checkbox", checked: "" }, label);
      label.appendChild(document.createTextNode(` ${text}`));
      box.addEventListener("change", () => { this.viewer.options[name] = box.checked; this.viewer.draw(); });
    }
    const reset = html("button", { type: "button" }, bar, "Reset view");
    reset.addEventListener("click", () => this.viewer.draw(true));
  }

  /** A residue chooser, or one of torsions, where there are several. */
  #chooser() {
    this.labels = [...new Set(this.page.runs.flatMap((run) => run.sites.map((site) => site.label)))];
    if (this.labels.length < 2) return;
    const kind = this.page.runs[0].sites[0].kind === "map" ? "Residue" : "Torsion";
    const label = html("label", {}, this.head, `${kind} `), select = html("select", {}, label);
    this.labels.forEach((text, i) => html("option", { value: i }, select, text));
    select.addEventListener("change", () => this.open(Number(select.value)));
  }

  open(index) {
    this.label = this.labels[index];
    this.maps.replaceChildren();
    this.table.replaceChildren();
    this.bar.replaceChildren();
    this.panels = [];
    this.words.textContent = "";
    const members = this.page.runs.map((run, i) => [i, run.sites.find((site) => site.label === this.label)]).filter(([, site]) => site);
    for (const [run, site] of members) this[`${site.kind}Panels`](run, decodeSite(site, this.page));
    if (members.some(([, site]) => site.kind === "map")) this.panels.push({ run: null, ...colourBar(this.bar, this.page) });
    const [run, site] = members[0];
    this.pick(run, site, site.kind === "map" ? site.basins.peaks[0] || [0, 0] : site.kind === "torsion" ? [fullest(site)] : [0]);
  }

  mapPanels(run, site) {
    const row = html("div", { class: "row" }, this.maps);
    for (const name of Object.keys(SOURCES)) {
      const panel = drawMap(row, this.page, run, site, name,
        (phi, psi) => this.pick(run, site, [phi, psi]),
        (phi, psi) => this.hover(run, site, phi ?? null, psi));
      this.panels.push({ run, ...panel });
    }
    this.#basins(run, site);
    this.words.textContent = "Hover over a map to read its values; click to see a conformation from there.";
  }

  #basins(run, site) {
    if (this.page.runs.length > 1) html("p", { class: "caption" }, this.table, this.page.runs[run].name);
    const table = html("table", {}, this.table), head = html("tr", {}, html("thead", {}, table));
    for (const text of ["basin", ...Object.values(SOURCES).map((name) => `${name}\u202f/\u202f%`)]) html("th", { scope: "col" }, head, text);
    const body = html("tbody", {}, table);
    site.basins.names.forEach((name, k) => {
      const shares = Object.keys(SOURCES).map((source) => site.basins.populations[source].map((part) => part[k]));
      if (k === site.basins.peaks.length && shares.every(([share]) => !share)) return;
      const row = html("tr", {}, body), cell = html("th", { scope: "row" }, row);
      if (k < site.basins.peaks.length) {
        const button = html("button", { type: "button", class: "link" }, cell, name);
        button.addEventListener("click", () => this.pick(run, site, site.basins.peaks[k]));
      } else cell.textContent = name;
      for (const [share, error] of shares) html("td", { class: "number" }, row, withError(share, error));
    });
  }

  torsionPanels(run, site) {
    const plot = new Plot(this.maps, {
      width: 620, height: 240, xDomain: [-180, 180], yDomain: [0, 1.08 * Math.max(...Object.values(site.shares).flat())], yTicks: [], left: 16,
      xTicks: [-120, -60, 0, 60, 120], xFormat: (v) => minus(`${v}°`), xLabel: site.label,
      title: this.page.runs.length > 1 ? this.page.runs[run].name : "", alt: `Histogram of the torsion ${site.label}`,
    });
    plot.steps(-180, 180, site.shares.data, "fill: var(--data); opacity: .16", true);
    for (const name of Object.keys(SOURCES)) plot.steps(-180, 180, site.shares[name], looks[name](run));
    const mark = svg("path", { class: "cursor" }, plot.panel);
    const target = svg("rect", { width: plot.inner[0], height: plot.inner[1], fill: "transparent", class: "target" }, plot.panel);
    target.addEventListener("click", (event) => this.pick(run, site, [plot.at(event)[0]]));
    this.panels.push({ run, paint() {}, follow() {}, point: (x) => mark.setAttribute("d", `M${plot.x(x)} 0V${plot.inner[1]}`) });
    this.words.textContent = "Click the histogram to see a conformation from there.";
  }

  listPanels(run, site) {
    if (this.page.runs.length > 1) html("p", { class: "caption" }, this.table, this.page.runs[run].name);
    const list = html("div", { class: "list" }, this.table);
    site.conformations.samples.which.forEach((_, k) => {
      const button = html("button", { type: "button" }, list, `${k + 1}`);
      button.addEventListener("click", () => this.pick(run, site, [k]));
    });
    this.words.textContent = "The samples with the largest weights; choose one to see it with an MD frame.";
  }

  hover(run, site, phi, psi) {
    for (const panel of this.panels) if (panel.follow) panel.follow(phi, psi);
    if (phi === null) return;
    const name = this.page.runs.length > 1 ? [this.page.runs[run].name] : [];
    this.words.replaceChildren(...[...name, ...hoverWords(this.page, site, phi, psi)].map((line) => html("span", {}, null, line)));
  }

  /** Show the conformations of a point: angles in degrees or, in a list, a place. */
  pick(runIndex, site, point) {
    const run = this.page.runs[runIndex];
    const find = (source) => {
      const { which } = site.conformations[source];
      if (site.kind === "list") return which.length ? { place: Math.min(point[0], which.length - 1), same: true } : null;
      return nearestConformation(site, source, point);
    };
    const sample = find("samples"), at = sample && site.kind !== "list" ? anglesOf(site, "samples", sample.place) : point;
    const frame = site.kind === "list" ? find("data") : nearestConformation(site, "data", at);
    const chosen = (source, found) => (found ? site.conformations[source].which[found.place] : null);
    const distance = this.viewer.show(runIndex, site, chosen("samples", sample), chosen("data", frame));
    for (const panel of this.panels) if (panel.run === runIndex) panel.point(...at);
    this.said.replaceChildren(...this.#describe(run, site, sample, frame, distance).map((line) => html("span", {}, null, line)));
    this.picked = { runIndex, label: site.label, point, sample: chosen("samples", sample), frame: chosen("data", frame) };
  }

  #describe(run, site, sample, frame, distance) {
    const lines = [];
    const angles = (source, found) => site.kind === "list" ? "" : `, ${anglesOf(site, source, found.place)
      .map((v, i) => `${site.kind === "map" ? "φψ"[i] : site.label} ${minus(v.toFixed(0))}°`).join(", ")}`;
    const against = (energy) => `u ${energy >= run.mean_energy ? "+" : "\u2212"}${Math.abs(energy - run.mean_energy).toFixed(1)} kT from MD's mean`;
    if (sample) {
      const k = site.conformations.samples.which[sample.place];
      lines.push(`Sample ${(run.number.samples[k] + 1).toLocaleString("en")}${angles("samples", sample)}: weight ${short(run.weight[k], 3)} of the mean one, ${against(run.energy.samples[k])}${sample.same ? "" : "; the nearest, no sample with weight lies there"}.`);
    } else lines.push("No sample has weight.");
    if (frame) {
      const k = site.conformations.data.which[frame.place];
      lines.push(`MD frame ${(run.number.data[k] + 1).toLocaleString("en")} (grey)${angles("data", frame)}: ${against(run.energy.data[k])}${frame.same ? "" : "; the nearest, MD has none there"}.`);
    }
    if (distance !== null) lines.push(`RMSD of the heavy atoms ${distance.toFixed(3)} nm.`);
    return lines;
  }

  paint() {
    for (const panel of this.panels) panel.paint();
    this.viewer.draw();
  }
}

function anglesOf(site, source, place) {
  const d = site.kind === "map" ? 2 : 1;
  return site.conformations[source].at.slice(d * place, d * (place + 1));
}

function fullest(site) {
  const best = site.shares.data.indexOf(Math.max(...site.shares.data));
  return -180 + (best + 0.5) * 360 / site.shares.data.length;
}

const FIGURES = {
  energies: drawEnergies,
  profiles: drawProfiles,
  torsions: (host, page) => drawMarginals(host, page, ["torsion"]),
  geometry: (host, page) => drawMarginals(host, page, ["bond", "angle"]),
  weights: drawWeights,
  training: drawTraining,
};

/** Light, dark, or what the system prefers; the choice is kept where the browser allows it. */
function themeButton(button) {
  const root = document.documentElement, system = matchMedia("(prefers-color-scheme: dark)");
  const store = (value) => { try { return value === undefined ? localStorage.getItem("bgp4-theme") : localStorage.setItem("bgp4-theme", value); } catch { return null; } };
  const apply = (theme) => {
    root.dataset.theme = theme;
    const other = theme === "dark" ? "light" : "dark";
    button.textContent = theme === "dark" ? "Light" : "Dark";
    button.setAttribute("aria-label", `Use ${other} colours`);
    if (report.explorer) report.explorer.paint();
  };
  const kept = store();
  apply(kept === "dark" || kept === "light" ? kept : system.matches ? "dark" : "light");
  system.addEventListener("change", () => { if (!store()) apply(system.matches ? "dark" : "light"); });
  button.addEventListener("click", () => {
    const theme = root.dataset.theme === "dark" ? "light" : "dark";
    store(theme);
    apply(theme);
  });
}

document.documentElement.classList.add("drawn");
themeButton(document.getElementById("theme"));
for (const host of document.querySelectorAll("[data-figure]")) {
  const draw = FIGURES[host.dataset.figure];
  if (draw) draw(host, report.page);
}
report.explorer = new Explorer(document.getElementById("explorer"), report.page);
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((d) => { d.open = true; }));
window.bgp4Report = report;
