// Energies and forces of a molecule's conformations, LANES of them side by side in each loop.
//
// The energy is that of energies/potential.py, the gradient is written out; energies/tables.py fills in the tables.

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "simd.h"

namespace {

template <class T> struct Table {
  int32_t rows, columns;
  const int32_t* indices;  // (rows, atoms of a term)
  const T* values;         // (rows, columns)
  const T* operator[](int row) const { return values + row * columns; }
};

template <class T> struct Terms {
  Table<T> bonds;      // length, stiffness
  Table<T> angles;     // angle, stiffness
  Table<T> torsions;   // a0, b0, a1, b1, ... of the sum of a_n cos nφ + b_n sin nφ
  Table<T> impropers; // angle, stiffness, period
  Table<T> maps;       // of two torsions: first patch, patches along a side
  Table<T> patches;    // coefficients of u^a v^b, a first
  Table<T> pairs;      // Coulomb, r^-6, r^-12, solvation; of a neck depth and distance, twice, and cutoff
  Table<T> born;       // offset radius, scaled radius, radius, own energy, surface; α, β, γ unless HCT
  int32_t n_atoms;
};

template <class T> struct alignas(64) Atom {
  T x[LANES], y[LANES], z[LANES], gx[LANES], gy[LANES], gz[LANES], energy[LANES];
  T born[LANES], born_slope[LANES], descreening_slope[LANES];  // radius, ∂E/∂B, ∂B/∂Σ
  Vec<T> operator[](int l) const { return {x[l], y[l], z[l]}; }
  void add(int l, Vec<T> gradient) { gx[l] += gradient.x, gy[l] += gradient.y, gz[l] += gradient.z; }
};

template <class T> struct alignas(64) Pair {
  T slope[LANES];                 // dE/dr / r at constant Born radii
  T first[LANES], second[LANES];  // of each atom's descreening by the other, d/dr / r
};

template <class T> class Tile {
 public:
  explicit Tile(const Terms<T>& terms) : terms(terms), atoms(terms.n_atoms), pairs(terms.pairs.rows) {}

  // `size` conformations, (atoms, 3) each; the lanes left over repeat the last one.
  void evaluate(const double* positions, int size, double* energies, double* forces) {
    const size_t stride = 3 * atoms.size();
    for (int l = 0; l < LANES; ++l) load(positions + std::min(l, size - 1) * stride, l);
    bond_terms();
    angle_terms();
    torsion_terms();
    improper_terms();
    map_terms();
    if (!terms.born.rows) pair_terms<false, false>();
    else if (terms.pairs.columns == 4) pair_terms<true, false>();
    else pair_terms<true, true>();
    for (int l = 0; l < size; ++l) energies[l] = store(forces + l * stride, l);
  }

 private:
  const Terms<T>& terms;
  std::vector<Atom<T>> atoms;
  std::vector<Pair<T>> pairs;

  // Centred, since single precision has no digits to spare.
  void load(const double* from, int l) {
    Vec<double> sum{0, 0, 0};
    for (size_t a = 0; a < atoms.size(); ++a) sum = sum + Vec<double>{from[3 * a], from[3 * a + 1], from[3 * a + 2]};
    const Vec<double> mean = sum * (1.0 / atoms.size());
    for (Atom<T>& atom : atoms) {
      atom.x[l] = T(*from++ - mean.x), atom.y[l] = T(*from++ - mean.y), atom.z[l] = T(*from++ - mean.z);
      atom.gx[l] = atom.gy[l] = atom.gz[l] = atom.energy[l] = atom.born[l] = 0;
    }
  }

  double store(double* forces, int l) const {
    double energy = 0;
    for (const Atom<T>& atom : atoms) {
      *forces++ = -atom.gx[l], *forces++ = -atom.gy[l], *forces++ = -atom.gz[l];
      energy += atom.energy[l];
    }
    return energy;
  }

  void bond_terms() {
    for (int t = 0; t < terms.bonds.rows; ++t) {
      const int32_t* a = terms.bonds.indices + 2 * t;
      const T length = terms.bonds[t][0], stiffness = terms.bonds[t][1];
      Atom<T> &i = atoms[a[0]], &j = atoms[a[1]];
      FOR_EACH_LANE {
        const Vec<T> d = i[l] - j[l];
        const T r = std::sqrt(dot(d, d)), off = r - length;
        i.energy[l] += T(0.5) * stiffness * off * off;
        i.add(l, d * (stiffness * off / r));
        j.add(l, d * (-stiffness * off / r));
      }
    }
  }

  // ∂θ/∂u = u × (u × v) / (|u|² |u × v|), and -v × (u × v) / (|v|² |u × v|).
  void angle_terms() {
    for (int t = 0; t < terms.angles.rows; ++t) {
      const int32_t* a = terms.angles.indices + 3 * t;
      const T equilibrium = terms.angles[t][0], stiffness = terms.angles[t][1];
      Atom<T> &i = atoms[a[0]], &j = atoms[a[1]], &k = atoms[a[2]];
      FOR_EACH_LANE {
        const Vec<T> u = i[l] - j[l], v = k[l] - j[l], p = cross(u, v);
        const T sine = std::sqrt(dot(p, p)), off = angle_of(sine, dot(u, v)) - equilibrium;
        const T slope = stiffness * off / std::max(sine, T(1e-6));  // as OpenMM does: atoms may be in a line
        const Vec<T> gu = cross(u, p) * (slope / dot(u, u)), gv = cross(p, v) * (slope / dot(v, v));
        j.energy[l] += T(0.5) * stiffness * off * off;
        i.add(l, gu);
        j.add(l, (gu + gv) * T(-1));
        k.add(l, gv);
      }
    }
  }

  static constexpr T IN_LINE = T(1e-30);  // atoms in a line have no torsion, and no force of one

  // cos φ and sin φ of four atoms; both are zero if three are in a line.
  void dihedral(const int32_t* atom, T* cosine, T* sine) const {
    const Atom<T> &i = atoms[atom[0]], &j = atoms[atom[1]], &k = atoms[atom[2]], &m = atoms[atom[3]];
    FOR_EACH_LANE {
      const Vec<T> b1 = j[l] - i[l], b2 = k[l] - j[l], b3 = m[l] - k[l], p = cross(b1, b2), q = cross(b2, b3);
      const T scale = 1 / std::sqrt(std::max(dot(p, p) * dot(q, q), IN_LINE));
      cosine[l] = dot(p, q) * scale;
      sine[l] = dot(b1, q) * std::sqrt(dot(b2, b2)) * scale;
    }
  }

  // The gradient from that in φ; derivatives of φ as in Blondel, Karplus, J. Comput. Chem. 17, 1132 (1996).
  void turn(const int32_t* atom, const T* slope) {
    Atom<T> &i = atoms[atom[0]], &j = atoms[atom[1]], &k = atoms[atom[2]], &m = atoms[atom[3]];
    FOR_EACH_LANE {
      const Vec<T> b1 = j[l] - i[l], b2 = k[l] - j[l], b3 = m[l] - k[l], p = cross(b1, b2), q = cross(b2, b3);
      const T square = dot(b2, b2), scale = slope[l] * std::sqrt(square);
      const Vec<T> g1 = p * (scale / std::max(dot(p, p), IN_LINE)), g3 = q * (scale / std::max(dot(q, q), IN_LINE));
      const Vec<T> g2 = g1 * (-dot(b1, b2) / square) + g3 * (-dot(b3, b2) / square);
      i.add(l, g1 * T(-1));
      j.add(l, g1 - g2);
      k.add(l, g2 - g3);
      m.add(l, g3);
    }
  }

  void torsion_terms() {
    T cos_1[LANES], sin_1[LANES], cos_n[LANES], sin_n[LANES], slope[LANES];
    for (int t = 0; t < terms.torsions.rows; ++t) {
      const int32_t* atom = terms.torsions.indices + 4 * t;
      const T* series = terms.torsions[t];
      Atom<T>& j = atoms[atom[1]];
      dihedral(atom, cos_1, sin_1);
      FOR_EACH_LANE {
        cos_n[l] = cos_1[l], sin_n[l] = sin_1[l];
        slope[l] = 0;
        j.energy[l] += series[0];
      }
      for (int n = 1; n < terms.torsions.columns / 2; ++n) {
        const T a = series[2 * n], b = series[2 * n + 1];
        FOR_EACH_LANE {
          const T c = cos_n[l], s = sin_n[l];
          j.energy[l] += a * c + b * s;
          slope[l] += n * (b * c - a * s);
          cos_n[l] = c * cos_1[l] - s * sin_1[l];
          sin_n[l] = s * cos_1[l] + c * sin_1[l];
        }
      }
      turn(atom, slope);
    }
  }

  void improper_terms() {
    T cosine[LANES], sine[LANES], slope[LANES];
    for (int t = 0; t < terms.impropers.rows; ++t) {
      const int32_t* atom = terms.impropers.indices + 4 * t;
      const T *value = terms.impropers[t], equilibrium = value[0], stiffness = value[1], period = value[2];
      Atom<T>& j = atoms[atom[1]];
      dihedral(atom, cosine, sine);
      FOR_EACH_LANE {
        const T off = turned(sine[l], cosine[l]) - equilibrium, far = std::abs(off), other = period - far;
        const T least = std::min(far, other), sign = (off < 0) == (far <= other) ? T(-1) : T(1);
        j.energy[l] += T(0.5) * stiffness * least * least;
        slope[l] = stiffness * least * sign;
      }
      turn(atom, slope);
    }
  }

  // The angle in [-π, π] of the point (c, s).
  static INLINE T turned(T s, T c) {
    const T angle = angle_of(std::abs(s), c);
    return s < 0 ? -angle : angle;
  }

  // Bicubic patches of two torsions, whose values and slopes agree where they meet.
  void map_terms() {
    T cos_1[LANES], sin_1[LANES], through_1[LANES], slope_1[LANES];
    T cos_2[LANES], sin_2[LANES], through_2[LANES], slope_2[LANES];
    int32_t start[LANES];
    for (int t = 0; t < terms.maps.rows; ++t) {
      const int32_t* atom = terms.maps.indices + 8 * t;
      const int32_t first = int32_t(terms.maps[t][0]), size = int32_t(terms.maps[t][1]);
      const T per_radian = size * T(0.15915494309189534), *patches = terms.patches.values;
      Atom<T>& j = atoms[atom[1]];
      dihedral(atom, cos_1, sin_1);
      dihedral(atom + 4, cos_2, sin_2);
      FOR_EACH_LANE {
        const int32_t row = patch(turned(sin_1[l], cos_1[l]) * per_radian, size, through_1[l]);
        const int32_t column = patch(turned(sin_2[l], cos_2[l]) * per_radian, size, through_2[l]);
        start[l] = 16 * (first + row * size + column);
      }
      for (int l = 0; l < LANES; ++l) {
        const T u = through_1[l], v = through_2[l], *c = patches + start[l] + 12;
        T energy = 0, along_u = 0, along_v = 0;
        for (int a = 0; a < 4; ++a, c -= 4) {
          along_u = along_u * u + energy;
          energy = energy * u + c[0] + v * (c[1] + v * (c[2] + v * c[3]));
          along_v = along_v * u + c[1] + v * (2 * c[2] + v * 3 * c[3]);
        }
        j.energy[l] += energy;
        slope_1[l] = along_u * per_radian;
        slope_2[l] = along_v * per_radian;
      }
      turn(atom, slope_1);
      turn(atom + 4, slope_2);
    }
  }

  // The patch of x in (-size, size), a NaN's is the first, and how far through it x is.
  static INLINE int32_t patch(T x, int32_t size, T& through) {
    const T around = x < 0 ? x + size : x;
    const int32_t number = int32_t(std::min(std::max(T(0), around), T(size - 1)));
    through = around - T(number);
    return number;
  }

  template <bool solvated, bool necked> void pair_terms() {
    if (solvated) born_radii<necked>();
    for (size_t p = 0; p < pairs.size(); ++p) {
      const int32_t* a = terms.pairs.indices + 2 * p;
      const T *value = terms.pairs[p], coulomb = value[0], c6 = value[1], c12 = value[2], solvation = value[3];
      Atom<T> &i = atoms[a[0]], &j = atoms[a[1]];
      Pair<T>& pair = pairs[p];
      FOR_EACH_LANE {
        const Vec<T> d = i[l] - j[l];
        const T r2 = dot(d, d), inverse2 = 1 / r2, inverse6 = inverse2 * inverse2 * inverse2;
        const T e1 = coulomb * std::sqrt(inverse2), e6 = c6 * inverse6, e12 = c12 * inverse6 * inverse6;
        T energy = e1 + (e12 - e6), slope = (6 * e6 - 12 * e12 - e1) * inverse2;
        if constexpr (solvated) {
          const T bb = i.born[l] * j.born[l], x = T(0.25) * r2 / bb, decay = exponential(-x);
          const T square = 1 / (r2 + bb * decay), gb = solvation * std::sqrt(square);
          const T born_slope = T(-0.5) * gb * square * decay * (1 + x);
          energy += gb;
          slope -= gb * square * (1 - T(0.25) * decay);
          i.born_slope[l] += born_slope * j.born[l];
          j.born_slope[l] += born_slope * i.born[l];
        }
        i.energy[l] += energy;
        pair.slope[l] = slope;
      }
    }
    for (size_t p = 0; p < pairs.size(); ++p) {
      const int32_t* a = terms.pairs.indices + 2 * p;
      Atom<T> &i = atoms[a[0]], &j = atoms[a[1]];
      const Pair<T>& pair = pairs[p];
      FOR_EACH_LANE {
        T slope = pair.slope[l];
        if constexpr (solvated) {
          slope += i.born_slope[l] * i.descreening_slope[l] * pair.first[l];
          slope += j.born_slope[l] * j.descreening_slope[l] * pair.second[l];
        }
        const Vec<T> g = (i[l] - j[l]) * slope;
        i.add(l, g);
        j.add(l, g * T(-1));
      }
    }
  }

  // How much one atom descreens another (a term of Σ in ψ = offset radius Σ); slope is d/dr / r.
  static INLINE T descreening(T r, T inverse, T own, T other, T& slope) {
    const T upper = r + other, lower = std::max(own, std::abs(r - other)), product = 1 / (lower * upper);
    const T difference = product * (upper - lower), squares = difference * product * (upper + lower);
    const T log = logarithm(product * upper * upper) * inverse, q = other * other * inverse;
    const T value = T(0.5) * (difference - T(0.25) * (r - q) * squares - T(0.5) * log);
    slope = upper > own ? (T(0.25) * log - T(0.125) * (r + q) * squares) * inverse * inverse : 0;
    return upper > own ? value : 0;
  }

  // What fills the neck between two spheres (Mongan et al., J. Chem. Theory Comput. 3, 156 (2007)), as descreening.
  static INLINE T neck(T r, T inverse, T depth, T distance, T cutoff, T& slope) {
    const T off = r - distance, square = off * off, fourth = square * square;
    const T fraction = 1 / (1 + 100 * square + T(3e5) * fourth * square);
    const T value = r <= cutoff ? depth * fraction : 0;
    slope -= value * fraction * off * (200 + T(1.8e6) * fourth) * inverse;
    return value;
  }

  // Onufriev, Bashford, Case, Proteins 55, 383 (2004); each atom's own solvation and surface terms.
  template <bool necked> void born_radii() {
    for (size_t p = 0; p < pairs.size(); ++p) {
      const int32_t* a = terms.pairs.indices + 2 * p;
      const T own_i = terms.born[a[0]][0], scaled_i = terms.born[a[0]][1];
      const T own_j = terms.born[a[1]][0], scaled_j = terms.born[a[1]][1], *value = terms.pairs[p];
      Atom<T> &i = atoms[a[0]], &j = atoms[a[1]];
      Pair<T>& pair = pairs[p];
      FOR_EACH_LANE {
        const Vec<T> d = i[l] - j[l];
        const T r = std::sqrt(dot(d, d)), inverse = 1 / r;
        i.born[l] += descreening(r, inverse, own_i, scaled_j, pair.first[l]);
        j.born[l] += descreening(r, inverse, own_j, scaled_i, pair.second[l]);
        if constexpr (necked) {
          i.born[l] += neck(r, inverse, value[4], value[5], value[8], pair.first[l]);
          j.born[l] += neck(r, inverse, value[6], value[7], value[8], pair.second[l]);
        }
      }
    }
    if (terms.born.columns == 8) rescaled_radii<true>();
    else rescaled_radii<false>();
  }

  // B from ψ = offset radius Σ: 1 / B = 1 / offset radius - tanh(...) / radius, or (1 - ψ) / offset radius in HCT.
  template <bool rescaled> void rescaled_radii() {
    for (size_t a = 0; a < atoms.size(); ++a) {
      const T *value = terms.born[a], offset = value[0], radius = value[2], own = value[3], surface = value[4];
      const T alpha = rescaled ? value[5] : 0, beta = rescaled ? value[6] : 0, gamma = rescaled ? value[7] : 0;
      Atom<T>& i = atoms[a];
      FOR_EACH_LANE {
        const T psi = offset * i.born[l];
        T tanh = 0, inverse = (1 - psi) / offset;
        if constexpr (rescaled) {
          tanh = 1 - 2 / (exponential(2 * psi * (alpha + psi * (gamma * psi - beta))) + 1);
          inverse = 1 / offset - tanh / radius;
        }
        const T born = 1 / inverse, ratio = radius / born, cube = ratio * ratio * ratio;
        const T self = own / born, area = surface * cube * cube;
        i.energy[l] += self + area;
        i.born_slope[l] = -(self + 6 * area) / born;
        i.descreening_slope[l] = born * born;
        if constexpr (rescaled) {
          i.descreening_slope[l] = offset * born * born * (1 - tanh * tanh) / radius *
                                   (alpha + psi * (3 * gamma * psi - 2 * beta));
        }
        i.born[l] = born;
      }
    }
  }
};

// Tiles go to whichever thread is free. A thread that starts late finds none left and touches
// nothing, so that nobody waits for it: on a busy machine starting takes longer than a batch.
template <class T>
void evaluate(const Terms<T>& terms, int threads, int64_t batch, const double* positions, double* energies,
              double* forces) {
  struct Progress {
    std::atomic<int64_t> next{0}, done{0};
  };
  const int64_t stride = 3 * terms.n_atoms;
  const auto progress = std::make_shared<Progress>();
  const auto work = [=, &terms] {
    std::unique_ptr<Tile<T>> tile;
    for (int64_t b; (b = progress->next.fetch_add(LANES)) < batch;) {
      const int size = int(std::min<int64_t>(LANES, batch - b));
      if (!tile) tile = std::make_unique<Tile<T>>(terms);
      tile->evaluate(positions + b * stride, size, energies + b, forces + b * stride);
      progress->done += size;
    }
  };
  for (int64_t t = 1; t < threads && t * LANES < batch; ++t) std::thread(work).detach();
  work();
  while (progress->done < batch) std::this_thread::yield();
}

}  // namespace

extern "C" void evaluate_float32(const Terms<float>* terms, int32_t threads, int64_t batch, const double* positions,
                                 double* energies, double* forces) {
  evaluate(*terms, threads, batch, positions, energies, forces);
}

extern "C" void evaluate_float64(const Terms<double>* terms, int32_t threads, int64_t batch, const double* positions,
                                 double* energies, double* forces) {
  evaluate(*terms, threads, batch, positions, energies, forces);
}
