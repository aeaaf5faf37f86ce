/* Conformations: decoding, superposition, and 3Dmol to show them. */
"use strict";

/** Coordinates of one conformation in nm, [[x, y, z], ...]. */
function conformation(run, source, which) {
  const all = (run.decoded ??= {})[source] ??= new Int16Array(bytes(run.positions[source]).buffer);
  const n = run.molecule.elements.length;
  return Array.from({ length: n }, (_, a) => [0, 1, 2].map((k) => all[3 * (n * which + a) + k] * run.unit_nm));
}

const mean = (points) => [0, 1, 2].map((k) => points.reduce((sum, p) => sum + p[k], 0) / points.length);

/**
 * `moving` turned and shifted so that its chosen atoms lie on those of `fixed` with the least squares.
 * The rotation is the quaternion of the largest eigenvalue of Horn's matrix, by power iteration.
 */
function superposed(moving, fixed, atoms) {
  if (!atoms.length) return moving;
  const from = mean(atoms.map((a) => moving[a])), to = mean(atoms.map((a) => fixed[a]));
  const s = [0, 1, 2].map((i) => [0, 1, 2].map((j) =>
    atoms.reduce((sum, a) => sum + (moving[a][i] - from[i]) * (fixed[a][j] - to[j]), 0)));
  const [[xx, xy, xz], [yx, yy, yz], [zx, zy, zz]] = s;
  const horn = [
    [xx + yy + zz, yz - zy, zx - xz, xy - yx],
    [yz - zy, xx - yy - zz, xy + yx, zx + xz],
    [zx - xz, xy + yx, yy - xx - zz, yz + zy],
    [xy - yx, zx + xz, yz + zy, zz - xx - yy],
  ];
  const shift = Math.sqrt(horn.flat().reduce((sum, v) => sum + v * v, 0)) || 1;
  let q = [1, 0.01, 0.02, 0.03];
  for (let i = 0; i < 400; i++) {
    const next = horn.map((row, k) => row.reduce((sum, v, j) => sum + v * q[j], shift * q[k]));
    const length = Math.hypot(...next);
    q = next.map((v) => v / length);
  }
  const [w, x, y, z] = q;
  const rotation = [
    [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
    [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
    [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
  ];
  return moving.map((p) => rotation.map((row, k) => to[k] + row.reduce((sum, v, j) => sum + v * (p[j] - from[j]), 0)));
}

/** The longest extent of points along x, the next along y: eigenvectors of their covariance, by power iteration. */
function flattened(points) {
  const centre = mean(points), x = points.map((p) => p.map((v, k) => v - centre[k]));
  const covariance = [0, 1, 2].map((i) => [0, 1, 2].map((j) => x.reduce((sum, p) => sum + p[i] * p[j], 0)));
  const axes = [];
  for (let a = 0; a < 2; a++) {
    let v = [0.8, 0.5, 0.33];
    for (let i = 0; i < 200; i++) {
      let next = covariance.map((row) => row.reduce((sum, c, k) => sum + c * v[k], 0));
      for (const u of axes) {
        const along = next.reduce((sum, c, k) => sum + c * u[k], 0);
        next = next.map((c, k) => c - along * u[k]);
      }
      const length = Math.hypot(...next);
      if (length < 1e-12) return points;
      v = next.map((c) => c / length);
    }
    axes.push(v);
  }
  const [[a, b, c], [d, e, f]] = axes;
  axes.push([b * f - c * e, c * d - a * f, a * e - b * d]);
  return x.map((p) => axes.map((u) => u.reduce((sum, w, k) => sum + w * p[k], 0)));
}

function rmsd(one, other, atoms) {
  const sum = atoms.reduce((total, a) => total + one[a].reduce((s, v, k) => s + (v - other[a][k]) ** 2, 0), 0);
  return Math.sqrt(sum / atoms.length);
}

const apart = (a, b) => Math.abs(((a - b + 540) % 360 + 360) % 360 - 180);

/**
 * The conformation of a site's source that belongs to a point: that of the point's bin, or else the nearest.
 * Returns its place in `which`, and whether it is of that bin; null where there is none.
 */
function nearestConformation(site, source, point) {
  const { at, which } = site.conformations[source], d = point.length;
  if (!which.length) return null;
  const cell = (angle) => Math.floor((((angle + 180) % 360 + 360) % 360) * site.bins / 360);
  let best = null;
  for (let k = 0; k < which.length; k++) {
    const own = at.slice(d * k, d * (k + 1));
    const same = own.every((angle, i) => cell(angle) === cell(point[i]));
    const distance = own.reduce((sum, angle, i) => sum + apart(angle, point[i]) ** 2, same ? -1e6 : 0);
    if (!best || distance < best.distance) best = { place: k, distance, same };
  }
  return best;
}

const ELEMENTS = { H: "#f4f4f4", N: "#9a86e8", O: "#d9412f", S: "#d8b824", P: "#e08a1e", F: "#6cc04a", Cl: "#4caf50", Br: "#a3482e", I: "#7b3fa0" };

/** The 3-D panel; `shown` is what it shows, for whoever asks. */
class Viewer {
  constructor(host, page) {
    this.page = page;
    this.host = host;
    this.shown = null;
    this.options = { data: true, hydrogens: true };
    this.view = null;
    const canvas = document.createElement("canvas");
    if (canvas.getContext("webgl2") || canvas.getContext("webgl")) {
      this.view = $3Dmol.createViewer(host, { antialias: true, disableFog: true });
    }
    if (!this.view) {
      html("p", { class: "soft" }, host, "This browser shows no 3-D graphics (WebGL is off).");
      return;
    }
    new ResizeObserver(() => this.view.resize()).observe(host);
  }

  /** Show a sample and an MD frame of a run, by their places among the page's conformations. */
  show(runIndex, site, sample, frame) {
    const run = this.page.runs[runIndex], elements = run.molecule.elements;
    const heavy = elements.map((_, a) => a).filter((a) => elements[a] !== "H");
    const own = sample === null ? null : conformation(run, "samples", sample);
    const other = frame === null ? null : conformation(run, "data", frame);
    const key = `${runIndex} ${site.label}`, first = !this.shown || this.shown.key !== key;
    if (first && (own || other)) this.reference = flattened(own || other);
    const placed = { samples: own && superposed(own, this.reference, site.anchor) };
    placed.data = other && (placed.samples
      ? superposed(other, placed.samples, heavy) : superposed(other, this.reference, site.anchor));
    const distance = placed.samples && placed.data ? rmsd(placed.samples, placed.data, heavy) : null;
    this.shown = { key, runIndex, site, sample, frame, placed, rmsd: distance };
    this.draw(first);
    return distance;
  }

  draw(zoom = false) {
    if (!this.view || !this.shown) return;
    this.view.removeAllModels();
    this.view.setBackgroundColor(this.#colour("ground"));
    const { runIndex, placed } = this.shown, carbon = this.#colour(`run${runIndex % 6}`), grey = this.#colour("frame");
    if (placed.data && this.options.data) this.#model(placed.data, { stick: { radius: 0.07, color: grey } });
    if (placed.samples) {
      const map = { ...ELEMENTS, C: carbon }, scheme = { prop: "elem", map };
      this.#model(placed.samples, { stick: { radius: 0.13, colorscheme: scheme }, sphere: { scale: 0.22, colorscheme: scheme } });
    }
    if (zoom) {
      this.view.setView([0, 0, 0, 0, 0, 0, 0, 1]);
      this.view.zoomTo();
      this.view.zoom(1.2);
    }
    this.view.render();
  }

  /** Of the theme, as a browser resolves it and 3Dmol reads it. */
  #colour(name) {
    this.host.style.color = `var(--${name})`;
    return $3Dmol.CC.getHex(getComputedStyle(this.host).color);
  }

  #model(points, style) {
    const { elements, bonds } = this.page.runs[this.shown.runIndex].molecule;
    const kept = elements.map((_, a) => a).filter((a) => this.options.hydrogens || elements[a] !== "H");
    const place = new Map(kept.map((a, k) => [a, k]));
    const atoms = kept.map((a, k) => {
      const [x, y, z] = points[a].map((v) => 10 * v);
      return { elem: elements[a], x, y, z, serial: k, bonds: [], bondOrder: [] };
    });
    for (const [a, b] of bonds) {
      if (!place.has(a) || !place.has(b)) continue;
      for (const [i, j] of [[a, b], [b, a]]) {
        atoms[place.get(i)].bonds.push(place.get(j));
        atoms[place.get(i)].bondOrder.push(1);
      }
    }
    const model = this.view.addModel();
    model.addAtoms(atoms);
    model.setStyle({}, style);
  }
}
