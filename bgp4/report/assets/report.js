/* The page: the panels that lead to conformations, the viewer, the theme. */
"use strict";

const report = { page: JSON.parse(document.getElementById("report-data").textContent) };

const HINTS = {
  map: "Hover over a map to read its values; click to see a conformation from there.",
  torsion: "Click a torsion's panel to see a conformation from there.",
  list: "The samples with the largest weights; choose one to see it with an MD frame.",
};

/** The part about conformations: what the figures' panels lead to, and the viewer. */
class Explorer {
  constructor(host, page) {
    this.page = page;
    this.words = html("p", { class: "words" }, host);
    const left = html("div", { class: "facts" }, host), right = html("div", { class: "stage" }, host);
    this.head = html("div", { class: "controls" }, left);
    this.table = html("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Basins" }, left);
    const box = html("div", { class: "viewer", role: "img", "aria-label": "Three-dimensional view of the chosen conformation" }, right);
    this.viewer = new Viewer(box, page);
    this.#options(right);
    this.said = html("p", { class: "said", "aria-live": "polite" }, right);
    this.panels = new Map();
    this.sites = page.runs.flatMap((run, i) => run.sites.map((site) => [i, decodeSite(site, page)]));
    for (const [run, site] of this.sites) this.#attach(run, site);
    this.#chooser();
    this.pick(...this.sites[0], this.sites[0][1].start);
  }

  #options(host) {
    const bar = html("div", { class: "controls" }, host);
    for (const [name, text] of [["data", "MD frame"], ["hydrogens", "hydrogens"]]) {
      const label = html("label", {}, bar), box = html("input", { type: "checkbox", checked: "" }, label);
      label.append(` ${text}`);
      box.addEventListener("change", () => { this.viewer.options[name] = box.checked; this.viewer.draw(); });
    }
    const reset = html("button", { type: "button" }, bar, "Reset view");
    reset.addEventListener("click", () => this.viewer.draw(true));
  }

  /** Panels that runs share are those of the run that was chosen last. */
  #attach(run, site) {
    for (const id of Object.values(site.panels)) {
      if (this.panels.has(id)) continue;
      const owner = () => this.sites.find(([i, own]) => i === this.picked.run && Object.values(own.panels).includes(id)) || [run, site];
      const hovered = site.kind === "map" ? (phi, psi) => this.hover(run, site, phi ?? undefined, psi) : undefined;
      const picked = (...angles) => {
        this.pick(...owner(), site.kind === "map" ? angles : angles.slice(0, 1));
        this.viewer.host.scrollIntoView({ block: "nearest" });
      };
      this.panels.set(id, new Panel(id, picked, hovered));
    }
  }

  /** Of a run and its residue or torsion, where there are several. */
  #chooser() {
    const { runs } = this.page, name = (run) => (runs.length > 1 ? `${runs[run].name}: ` : "");
    this.select = html("select", {}, null);
    this.sites.forEach(([run, site], i) => html("option", { value: i }, this.select, `${name(run)}${site.label}`));
    if (this.sites.length < 2) return;
    html("label", {}, this.head, "Shown ").append(this.select);
    this.select.addEventListener("change", () => {
      const [run, site] = this.sites[Number(this.select.value)];
      this.pick(run, site, site.start);
    });
  }

  /** What belongs to a site: its basins, in all runs that have it, or a list of its samples. */
  #open(run, site) {
    this.table.replaceChildren();
    this.words.textContent = HINTS[site.kind];
    this.table.hidden = site.kind === "torsion";
    if (site.kind === "list") this.#list(run, site);
    if (site.kind !== "map") return;
    for (const [i, other] of this.sites) if (other.label === site.label && other.kind === "map") this.#basins(i, other);
  }

  #basins(run, site) {
    const several = (items) => new Set(items).size > 1;
    const names = [several(this.page.runs) && this.page.runs[run].name, several(this.sites.map(([, own]) => own.label)) && site.label];
    if (names.some(Boolean)) html("p", { class: "caption" }, this.table, names.filter(Boolean).join(", "));
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

  #list(run, site) {
    const list = html("div", { class: "list" }, this.table);
    site.conformations.samples.which.forEach((_, k) => {
      const button = html("button", { type: "button" }, list, `${k + 1}`);
      button.addEventListener("click", () => this.pick(run, site, [k]));
    });
  }

  hover(run, site, phi, psi) {
    for (const [, other] of this.sites) {
      if (other.label === site.label) for (const id of Object.values(other.panels)) this.panels.get(id).follow(phi, psi);
    }
    if (phi === undefined) return;
    const name = this.page.runs.length > 1 ? [this.page.runs[run].name] : [];
    this.words.replaceChildren(...[...name, ...hoverWords(site, phi, psi)].map((line) => html("span", {}, null, line)));
  }

  /** Show the conformations of a point: angles in degrees or, in a list, a place. */
  pick(runIndex, site, point) {
    if (this.picked?.site !== site) this.#open(runIndex, site);
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
    for (const panel of this.panels.values()) panel.point();
    for (const id of Object.values(site.panels)) this.panels.get(id).point(...at);
    this.said.replaceChildren(...this.#describe(run, site, sample, frame, distance).map((line) => html("span", {}, null, line)));
    this.select.value = this.sites.findIndex(([, own]) => own === site);
    this.picked = { run: runIndex, site, point, sample: chosen("samples", sample), frame: chosen("data", frame) };
  }

  #describe(run, site, sample, frame, distance) {
    const lines = [];
    const angles = (source, found) => site.kind === "list" ? "" : `, ${anglesOf(site, source, found.place)
      .map((v, i) => `${site.kind === "map" ? "φψ"[i] : site.label} ${minus(v.toFixed(0))}°`).join(", ")}`;
    const against = (energy) => `u ${energy >= run.mean_energy ? "+" : "\u2212"}${Math.abs(energy - run.mean_energy).toFixed(1)} kT from MD's mean`;
    if (sample) {
      const k = site.conformations.samples.which[sample.place];
      lines.push(`Sample ${(run.number.samples[k] + 1).toLocaleString("en")}${angles("samples", sample)}: weight ${minus(Number(run.weight[k].toPrecision(3)))} of the mean one, ${against(run.energy.samples[k])}${sample.same ? "" : "; the nearest, no sample with weight lies there"}.`);
    } else lines.push("No sample has weight.");
    if (frame) {
      const k = site.conformations.data.which[frame.place];
      lines.push(`MD frame ${(run.number.data[k] + 1).toLocaleString("en")} (grey)${angles("data", frame)}: ${against(run.energy.data[k])}${frame.same ? "" : "; the nearest, MD has none there"}.`);
    }
    if (distance !== null) lines.push(`RMSD of the heavy atoms ${distance.toFixed(3)} nm.`);
    return lines;
  }
}

function anglesOf(site, source, place) {
  const d = site.kind === "map" ? 2 : 1;
  return site.conformations[source].at.slice(d * place, d * (place + 1));
}

/** Light, dark, or what the system prefers; the choice is kept where the browser allows it. */
function themeButton(button) {
  const root = document.documentElement, system = matchMedia("(prefers-color-scheme: dark)");
  const store = (value) => { try { return value === undefined ? localStorage.getItem("bgp4-theme") : localStorage.setItem("bgp4-theme", value); } catch { return null; } };
  const apply = (theme) => {
    root.dataset.theme = theme;
    const other = theme === "dark" ? "light" : "dark";
    button.textContent = theme === "dark" ? "Light" : "Dark";
    button.setAttribute("aria-label", `Use ${other} colours`);
    if (report.explorer) report.explorer.viewer.draw();
  };
  const kept = store();
  button.hidden = false;
  apply(kept === "dark" || kept === "light" ? kept : system.matches ? "dark" : "light");
  system.addEventListener("change", () => { if (!store()) apply(system.matches ? "dark" : "light"); });
  button.addEventListener("click", () => {
    const theme = root.dataset.theme === "dark" ? "light" : "dark";
    store(theme);
    apply(theme);
  });
}

themeButton(document.getElementById("theme"));
report.explorer = new Explorer(document.getElementById("explorer"), report.page);
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((d) => { d.open = true; }));
window.bgp4Report = report;
