/* (phi, psi) maps: colours, basins, what lies under the pointer. */
"use strict";

const VIRIDIS = ["440154", "482475", "414487", "355f8d", "2a788e", "21918c", "22a884", "44bf70", "7ad151", "bddf26", "fde725"]
  .map((hex) => [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16)));

/** Colour of a share of the scale, 0 for the fullest bin; on dark ground that one is the brightest. */
function viridis(share, dark) {
  const at = Math.min(1, Math.max(0, dark ? 1 - share : share)) * (VIRIDIS.length - 1);
  const i = Math.min(VIRIDIS.length - 2, Math.floor(at));
  return VIRIDIS[i].map((c, k) => Math.round(c + (at - i) * (VIRIDIS[i + 1][k] - c)));
}

function bytes(base64) {
  return Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
}

const isDark = () => getComputedStyle(document.documentElement).colorScheme.trim() === "dark";

const SOURCES = { data: "MD", samples: "samples", reweighted: "reweighted" };

/** A residue's maps, decoded: -ln p in kT above the page's fullest bin, phi first; NaN if empty. */
function decodeSite(site, page) {
  if (site.kind !== "map" || site.decoded) return site;
  site.energies = {};
  for (const name of Object.keys(SOURCES)) {
    const steps = new Uint16Array(bytes(site.maps[name]).buffer);
    site.energies[name] = Float32Array.from(steps, (v) => (v === page.empty ? NaN : v * page.step - page.scale[0]));
  }
  site.places = bytes(site.basins.places);
  site.decoded = true;
  return site;
}

function binAt(site, phi, psi) {
  const n = site.map_bins, place = (angle) => ((Math.floor((angle + 180) * n / 360) % n) + n) % n;
  return place(phi) * n + place(psi);
}

/** The picture of a map as a data URI, a pixel a bin. */
function mapImage(site, name, high) {
  const n = site.map_bins, dark = isDark(), canvas = document.createElement("canvas");
  canvas.width = canvas.height = n;
  const context = canvas.getContext("2d"), image = context.createImageData(n, n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) {
      const value = site.energies[name][i * n + j];
      if (Number.isNaN(value)) continue;
      image.data.set([...viridis(value / high, dark), 255], 4 * ((n - 1 - j) * n + i));
    }
  }
  context.putImageData(image, 0, 0);
  return canvas.toDataURL();
}

/** Lines between basins, where MD is. */
function basinBorders(plot, site) {
  const n = site.map_bins, step = 360 / n, filled = site.energies.data;
  const at = (i, j) => ((i + n) % n) * n + ((j + n) % n);
  let path = "";
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) {
      const here = at(i, j), x = plot.x(-180 + i * step), y = plot.y(-180 + j * step);
      for (const [there, mark] of [[at(i - 1, j), `V${plot.y(-180 + (j + 1) * step)}`], [at(i, j - 1), `H${plot.x(-180 + (i + 1) * step)}`]]) {
        if (site.places[here] !== site.places[there] && !(Number.isNaN(filled[here]) && Number.isNaN(filled[there]))) path += `M${x} ${y}${mark}`;
      }
    }
  }
  svg("path", { d: path, class: "border" }, plot.panel);
}

/** One map: `picked(phi, psi)` on a click, `hovered(phi, psi)` or `hovered(null)` as the pointer goes. */
function drawMap(host, page, run, site, name, picked, hovered) {
  const title = SOURCES[name], several = page.runs.length > 1;
  const plot = new Plot(host, {
    width: 300, height: 318, left: 44, right: 8, top: 28, bottom: 42, xDomain: [-180, 180], yDomain: [-180, 180],
    xTicks: DEGREES, yTicks: DEGREES, xFormat: (v) => minus(`${v}°`), yFormat: (v) => minus(`${v}°`),
    xLabel: "φ", yLabel: "ψ", title: several ? `${page.runs[run].name}: ${title}` : title,
    alt: `Map of phi and psi of ${site.label}, ${title}: ${basinWords(site, name)}`,
  });
  const size = { width: plot.inner[0], height: plot.inner[1] };
  svg("rect", { ...size, class: "ground" }, plot.panel);
  const image = svg("image", { ...size, preserveAspectRatio: "none", style: "image-rendering: pixelated" }, plot.panel);
  const paint = () => image.setAttribute("href", mapImage(site, name, page.scale[1]));
  paint();
  basinBorders(plot, site);
  plot.rule(0, "rule dotted");
  const cross = svg("path", { class: "cursor", visibility: "hidden" }, plot.panel);
  site.basins.peaks.forEach(([phi, psi], k) => {
    const y = Math.min(plot.y(psi) + 15, plot.inner[1] - 8), x = Math.min(Math.max(plot.x(phi), 16), plot.inner[0] - 18);
    svg("text", { x, y: y + 4, class: "basin", "text-anchor": "middle" }, plot.panel, site.basins.names[k]);
  });
  const mark = svg("g", { class: "mark", visibility: "hidden" }, plot.panel);
  svg("circle", { r: 6 }, mark);
  svg("circle", { r: 6, class: "inner" }, mark);
  const target = svg("rect", { ...size, fill: "transparent", class: "target" }, plot.panel);
  const within = (event) => plot.at(event).map((v) => Math.min(179.999, Math.max(-180, v)));
  target.addEventListener("click", (event) => picked(...within(event)));
  target.addEventListener("pointermove", (event) => hovered(...within(event)));
  target.addEventListener("pointerleave", () => hovered(null));
  return {
    paint,
    point(phi, psi) {
      mark.setAttribute("visibility", "visible");
      mark.setAttribute("transform", `translate(${plot.x(phi)} ${plot.y(psi)})`);
    },
    follow(phi, psi) {
      cross.setAttribute("visibility", phi === null ? "hidden" : "visible");
      if (phi !== null) cross.setAttribute("d", `M${plot.x(phi)} 0V${plot.inner[1]}M0 ${plot.y(psi)}H${plot.inner[0]}`);
    },
  };
}

/** Percents without the sign, to two digits of the error. */
function withError(value, error) {
  if (value === null) return "\u2013";
  const digits = digitsFor(100 * error);
  return `${(100 * value).toFixed(digits)} ± ${(100 * error).toFixed(digits)}`;
}

/** Decimals that show two digits of an error, five at most. */
function digitsFor(error) {
  return error > 0 ? Math.min(5, Math.max(0, 1 - Math.floor(Math.log10(error)))) : 1;
}

function basinWords(site, name) {
  const [share] = site.basins.populations[name];
  return site.basins.names.map((basin, k) => `${basin} ${percent(share[k])}`).join(", ");
}

/** What is under the pointer, in words: -ln p of each map, and the basin's population. */
function hoverWords(page, site, phi, psi) {
  const bin = binAt(site, phi, psi), basin = site.places[bin];
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

/** The scale of all maps. */
function colourBar(host, page) {
  const plot = new Plot(host, {
    width: 300, height: 54, left: 44, right: 8, top: 6, bottom: 36, xDomain: [0, page.scale[1]], yDomain: [0, 1], yTicks: [],
    xLabel: "−ln p / kT, above the fullest bin", alt: "Colour scale of the maps",
  });
  const marks = svg("g", {}, plot.panel);
  const paint = () => {
    marks.replaceChildren();
    for (let i = 0; i < 60; i++) {
      const colour = viridis((i + 0.5) / 60, isDark()).join(" ");
      svg("rect", { x: i * plot.inner[0] / 60, width: Math.min(plot.inner[0] / 60 + 1.5, plot.inner[0] * (1 - i / 60)), height: plot.inner[1], fill: `rgb(${colour})` }, marks);
    }
  };
  paint();
  return { paint };
}
