/* The panels of the figures that lead to conformations: what lies under the pointer, and what is chosen. */
"use strict";

/** An SVG element; text goes in as text, never as markup. */
function svg(tag, attributes, parent) {
  return parent.appendChild(attributed(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes));
}

/** The same for HTML. */
function html(tag, attributes = {}, parent = null, text = null) {
  const element = attributed(document.createElement(tag), attributes);
  if (text !== null) element.textContent = text;
  return parent ? parent.appendChild(element) : element;
}

function attributed(element, attributes) {
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

const minus = (text) => String(text).replace("-", "\u2212");

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

const SOURCES = { data: "MD", samples: "samples", reweighted: "reweighted" };

/**
 * A panel of an embedded figure, over the whole circle along both axes. `picked(phi, psi)` is called on a click,
 * `hovered(phi, psi)` or `hovered(null)` as the pointer goes; of a torsion's panel only the first angle counts.
 */
class Panel {
  constructor(id, picked, hovered = () => {}) {
    const ground = document.getElementById(id);
    this.root = ground.ownerSVGElement;
    this.box = ground.getBBox();
    const { x, y, width, height } = this.box, marks = svg("g", { class: "marks" }, this.root);
    this.cross = svg("path", {}, marks);
    this.mark = svg("g", { visibility: "hidden" }, marks);
    for (const name of ["halo", "ring"]) svg("circle", { r: 4, class: name }, this.mark);
    this.target = svg("rect", { x, y, width, height, class: "target" }, this.root);
    this.target.addEventListener("click", (event) => picked(...this.#angles(event)));
    this.target.addEventListener("pointermove", (event) => hovered(...this.#angles(event)));
    this.target.addEventListener("pointerleave", () => hovered(null));
  }

  #angles(event) {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(this.root.getScreenCTM().inverse());
    const shares = [(at.x - this.box.x) / this.box.width, 1 - (at.y - this.box.y) / this.box.height];
    return shares.map((share) => clamp(360 * share - 180, -180, 179.999));
  }

  #place(phi, psi) {
    const { x, y, width, height } = this.box;
    return [x + width * (phi + 180) / 360, y + height * (180 - psi) / 360];
  }

  /** Mark what is chosen: a point of a map, a line of a torsion's panel, or nothing. */
  point(phi, psi) {
    if (phi !== undefined && psi !== undefined) this.mark.setAttribute("transform", `translate(${this.#place(phi, psi)})`);
    this.mark.setAttribute("visibility", psi === undefined ? "hidden" : "visible");
    if (psi === undefined) this.follow(phi);
  }

  /** Lines through a point, one alone without psi. */
  follow(phi, psi) {
    const { x, y, width, height } = this.box, [across, down] = this.#place(phi ?? 0, psi ?? 0);
    const lines = [phi === undefined ? "" : `M${across} ${y}v${height}`, psi === undefined ? "" : `M${x} ${down}h${width}`];
    this.cross.setAttribute("d", lines.join(""));
  }
}

function bytes(base64) {
  return Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
}

/** A residue's maps, decoded: -ln p in kT above the page's fullest bin, phi first; NaN if empty. */
function decodeSite(site, page) {
  if (site.kind !== "map" || site.energies) return site;
  site.energies = {};
  for (const name of Object.keys(SOURCES)) {
    const steps = new Uint16Array(bytes(site.maps[name]).buffer);
    site.energies[name] = Float32Array.from(steps, (v) => (v === page.empty ? NaN : v * page.step - page.fullest));
  }
  site.places = bytes(site.basins.places);
  return site;
}

/** Percents without the sign, to two digits of the error. */
function withError(value, error) {
  if (value === null) return "\u2013";
  const digits = error > 0 ? clamp(1 - Math.floor(Math.log10(100 * error)), 0, 5) : 1;
  return `${(100 * value).toFixed(digits)} ± ${(100 * error).toFixed(digits)}`;
}

/** What is under the pointer, in words: -ln p of each map, and the basin's population. */
function hoverWords(site, phi, psi) {
  const n = site.map_bins, place = (angle) => Math.floor((angle + 180) * n / 360);
  const bin = place(phi) * n + place(psi), basin = site.places[bin];
  const energy = (name) => {
    const value = site.energies[name][bin];
    return `${SOURCES[name]} ${Number.isNaN(value) ? "empty" : value.toFixed(2)}`;
  };
  const population = (name) => {
    const [share, error] = site.basins.populations[name];
    return `${SOURCES[name]} ${withError(share[basin], error[basin])}\u202f%`;
  };
  const names = Object.keys(SOURCES);
  return [
    `φ ${minus(Math.round(phi))}°, ψ ${minus(Math.round(psi))}°`,
    `−ln p / kT above the fullest bin: ${names.map(energy).join(", ")}`,
    `basin ${site.basins.names[basin]}: ${names.map(population).join(", ")}`,
  ];
}
