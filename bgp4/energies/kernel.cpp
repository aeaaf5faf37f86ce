// Energies and forces of a molecule's conformations, LANES of them side by side in each loop.
//
// Every loop over lanes is one conformation's arithmetic written out and vectorised by the compiler;
// the gradient is analytic. kernel.py fills in the tables; potential.py is the same energy in torch.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

namespace {

constexpr int LANES = 32;

#define FOR_EACH_LANE _Pragma("GCC ivdep") for (int l = 0; l < LANES; ++l)

template <class T> struct Table {
  int32_t rows, columns;
  const int32_t* atoms;  // (rows, atoms of a term)
  const T* values;       // (rows, columns)
  const T* operator[](int row) const { return values + row * columns; }
};

template <class T> struct Terms {
  Table<T> bonds;     // length, stiffness
  Table<T> angles;    // angle, stiffness
  Table<T> torsions;  // a0, b0, a1, b1, ... of the sum of a_n cos nφ + b_n sin nφ
  Table<T> pairs;     // Coulomb, r^-6, r^-12, solvation
  Table<T> atoms;     // offset radius, scaled radius, radius, self energy, surface, α, β, γ; or none
  int32_t n_atoms;
};

// ---------------------------------------------------------------- functions that vectorise

template <class T> struct Format;
template <> struct Format<float> {
  using Int = uint32_t;
  static constexpr int mantissa = 23, bias = 127, odd_terms = 6, exp_terms = 8;
  static constexpr float lowest_exp = -87;
};
template <> struct Format<double> {
  using Int = uint64_t;
  static constexpr int mantissa = 52, bias = 1023, odd_terms = 12, exp_terms = 14;
  static constexpr double lowest_exp = -708;
};

template <class To, class From> inline To bits(From from) {
  To to;
  static_assert(sizeof to == sizeof from);
  std::memcpy(&to, &from, sizeof to);
  return to;
}

// Σ z^k / (2k + 1): artanh q = q S(q²), arctan q = q S(-q²); for |z| < 0.04.
template <class T> inline T odd_series(T z) {
  T sum = T(1) / (2 * Format<T>::odd_terms - 1);
  for (int k = Format<T>::odd_terms - 2; k >= 0; --k) sum = sum * z + T(1) / (2 * k + 1);
  return sum;
}

// x = 2^e m with m in [√½, √2); ln m = 2 artanh((m - 1) / (m + 1)). For positive normal numbers.
template <class T> inline T logarithm(T x) {
  using Int = typename Format<T>::Int;
  constexpr int s = Format<T>::mantissa;
  const Int low = bits<Int>(T(0.70710678118654752)), one = bits<Int>(T(1));
  const T shift = T(Int(1) << s);
  const Int raised = bits<Int>(x) + (one - low);
  const T e = bits<T>((raised >> s) | bits<Int>(shift)) - (shift + Format<T>::bias);
  const T m = bits<T>((raised & ((Int(1) << s) - 1)) + low);
  const T q = (m - 1) / (m + 1);
  return e * T(0.69314718055994531) + 2 * q * odd_series(q * q);
}

// 2^n e^r with |r| < 0.35, n rounded by adding a number whose last digit is 1.
template <class T> inline T exponential(T x) {
  using Int = typename Format<T>::Int;
  constexpr int s = Format<T>::mantissa;
  constexpr T round = T(Int(3) << (s - 1));
  x = std::min(std::max(x, Format<T>::lowest_exp), -Format<T>::lowest_exp);
  const T shifted = x * T(1.4426950408889634) + round, n = shifted - round;
  const T r = (x - n * T(0.693145751953125)) - n * T(1.4286068203094172e-6);
  T sum = 1;
  for (int k = Format<T>::exp_terms - 1; k > 0; --k) sum = sum * r * (T(1) / k) + 1;
  return sum * bits<T>((bits<Int>(shifted) + Format<T>::bias) << s);
}

// The angle in [0, π] of (c, s), s ≥ 0: tan(θ/2), halved twice more.
template <class T> inline T angle_of(T s, T c) {
  T q = s / (std::sqrt(s * s + c * c) + std::abs(c));
  q = q / (1 + std::sqrt(1 + q * q));
  q = q / (1 + std::sqrt(1 + q * q));
  const T acute = 8 * q * odd_series(-q * q);
  return c < 0 ? T(3.14159265358979324) - acute : acute;
}

// ---------------------------------------------------------------- vectors of lanes

template <class T> struct Vec {
  T x, y, z;
};
template <class T> inline Vec<T> operator-(Vec<T> a, Vec<T> b) { return {a.x - b.x, a.y - b.y, a.z - b.z}; }
template <class T> inline Vec<T> operator+(Vec<T> a, Vec<T> b) { return {a.x + b.x, a.y + b.y, a.z + b.z}; }
template <class T> inline Vec<T> operator*(T s, Vec<T> a) { return {s * a.x, s * a.y, s * a.z}; }
template <class T> inline T dot(Vec<T> a, Vec<T> b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
template <class T> inline Vec<T> cross(Vec<T> a, Vec<T> b) {
  return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x};
}

template <class T> struct alignas(64) Row {
  T at[LANES];
  T& operator[](int l) { return at[l]; }
};

template <class T> struct alignas(64) Point {
  T x[LANES], y[LANES], z[LANES];
  Vec<T> operator[](int l) const { return {x[l], y[l], z[l]}; }
  void add(int l, Vec<T> v) { x[l] += v.x, y[l] += v.y, z[l] += v.z; }
};

// ---------------------------------------------------------------- energies

template <class T> class Tile {
 public:
  explicit Tile(const Terms<T>& terms)
      : terms(terms), n(terms.n_atoms), x(n), gradient(n), energy(n), born(n), chain(n), slope_born(n),
        slope(terms.pairs.rows), first(terms.pairs.rows), second(terms.pairs.rows) {}

  // `size` conformations, (atoms, 3) each; what is left of the lanes repeats the last one.
  void evaluate(const double* positions, int size, double* energies, double* forces) {
    for (int l = 0; l < LANES; ++l) load(positions + std::min(l, size - 1) * 3 * n, l);
    std::fill(energy.begin(), energy.end(), Row<T>{});
    std::fill(gradient.begin(), gradient.end(), Point<T>{});
    bond_terms();
    angle_terms();
    torsion_terms();
    terms.atoms.rows ? pair_terms<true>() : pair_terms<false>();
    for (int l = 0; l < size; ++l) store(energies + l, forces + l * 3 * n, l);
  }

 private:
  const Terms<T>& terms;
  const int n;
  std::vector<Point<T>> x, gradient;
  std::vector<Row<T>> energy, born, chain, slope_born, slope, first, second;

  void load(const double* from, int l) {
    Vec<double> mean{0, 0, 0};
    for (int a = 0; a < n; ++a) mean = mean + Vec<double>{from[3 * a], from[3 * a + 1], from[3 * a + 2]};
    mean = (1.0 / n) * mean;
    for (int a = 0; a < n; ++a) {
      x[a].x[l] = T(from[3 * a] - mean.x);
      x[a].y[l] = T(from[3 * a + 1] - mean.y);
      x[a].z[l] = T(from[3 * a + 2] - mean.z);
    }
  }

  void store(double* total, double* forces, int l) {
    *total = 0;
    for (int a = 0; a < n; ++a) {
      *total += energy[a][l];
      forces[3 * a] = -gradient[a].x[l];
      forces[3 * a + 1] = -gradient[a].y[l];
      forces[3 * a + 2] = -gradient[a].z[l];
    }
  }

  void bond_terms() {
    for (int t = 0; t < terms.bonds.rows; ++t) {
      const int32_t *atom = terms.bonds.atoms + 2 * t, i = atom[0], j = atom[1];
      const T length = terms.bonds[t][0], stiffness = terms.bonds[t][1];
      const Point<T> &xi = x[i], &xj = x[j];
      Point<T> &gi = gradient[i], &gj = gradient[j];
      Row<T>& e = energy[i];
      FOR_EACH_LANE {
        const Vec<T> d = xi[l] - xj[l];
        const T r = std::sqrt(dot(d, d)), off = r - length;
        const Vec<T> g = (stiffness * off / r) * d;
        e[l] += T(0.5) * stiffness * off * off;
        gi.add(l, g);
        gj.add(l, T(-1) * g);
      }
    }
  }

  // ∂θ/∂u = u × (u × v) / (|u|² |u × v|), and the same of v with the sign changed.
  void angle_terms() {
    for (int t = 0; t < terms.angles.rows; ++t) {
      const int32_t *atom = terms.angles.atoms + 3 * t, i = atom[0], j = atom[1], k = atom[2];
      const T equilibrium = terms.angles[t][0], stiffness = terms.angles[t][1];
      const Point<T> &xi = x[i], &xj = x[j], &xk = x[k];
      Point<T> &gi = gradient[i], &gj = gradient[j], &gk = gradient[k];
      Row<T>& e = energy[j];
      FOR_EACH_LANE {
        const Vec<T> u = xi[l] - xj[l], v = xk[l] - xj[l], p = cross(u, v);
        const T sine = std::sqrt(dot(p, p)), off = angle_of(sine, dot(u, v)) - equilibrium;
        const T scale = stiffness * off / sine;
        const Vec<T> gu = (scale / dot(u, u)) * cross(u, p), gv = (scale / dot(v, v)) * cross(p, v);
        e[l] += T(0.5) * stiffness * off * off;
        gi.add(l, gu);
        gk.add(l, gv);
        gj.add(l, T(-1) * (gu + gv));
      }
    }
  }

  // Derivatives of φ as in Blondel, Karplus, J. Comput. Chem. 17, 1132 (1996).
  void torsion_terms() {
    Row<T> c, s, cos_n, sin_n, slope_phi;
    for (int t = 0; t < terms.torsions.rows; ++t) {
      const int32_t *atom = terms.torsions.atoms + 4 * t, i = atom[0], j = atom[1], k = atom[2], m = atom[3];
      const T* series = terms.torsions[t];
      const Point<T> &xi = x[i], &xj = x[j], &xk = x[k], &xm = x[m];
      Point<T> &gi = gradient[i], &gj = gradient[j], &gk = gradient[k], &gm = gradient[m];
      Row<T>& e = energy[j];
      FOR_EACH_LANE {
        const Vec<T> b1 = xj[l] - xi[l], b2 = xk[l] - xj[l], b3 = xm[l] - xk[l];
        const Vec<T> p = cross(b1, b2), q = cross(b2, b3);
        const T scale = 1 / std::sqrt(dot(p, p) * dot(q, q));
        c[l] = cos_n[l] = dot(p, q) * scale;
        s[l] = sin_n[l] = dot(b1, q) * std::sqrt(dot(b2, b2)) * scale;
        slope_phi[l] = 0;
        e[l] += series[0];
      }
      for (int order = 1; order < terms.torsions.columns / 2; ++order) {
        const T a = series[2 * order], b = series[2 * order + 1];
        FOR_EACH_LANE {
          const T cosine = cos_n[l], sine = sin_n[l];
          e[l] += a * cosine + b * sine;
          slope_phi[l] += order * (b * cosine - a * sine);
          cos_n[l] = cosine * c[l] - sine * s[l];
          sin_n[l] = sine * c[l] + cosine * s[l];
        }
      }
      FOR_EACH_LANE {
        const Vec<T> b1 = xj[l] - xi[l], b2 = xk[l] - xj[l], b3 = xm[l] - xk[l];
        const Vec<T> p = cross(b1, b2), q = cross(b2, b3);
        const T length2 = dot(b2, b2), length = std::sqrt(length2);
        const Vec<T> g1 = (slope_phi[l] * length / dot(p, p)) * p, g3 = (slope_phi[l] * length / dot(q, q)) * q;
        const Vec<T> g2 = (-dot(b1, b2) / length2) * g1 + (-dot(b3, b2) / length2) * g3;
        gi.add(l, T(-1) * g1);
        gj.add(l, g1 - g2);
        gk.add(l, g2 - g3);
        gm.add(l, g3);
      }
    }
  }

  template <bool solvated> void pair_terms() {
    if (solvated) born_radii();
    for (int p = 0; p < terms.pairs.rows; ++p) {
      const int32_t i = terms.pairs.atoms[2 * p], j = terms.pairs.atoms[2 * p + 1];
      const T *value = terms.pairs[p], coulomb = value[0], c6 = value[1], c12 = value[2], solvation = value[3];
      const Point<T> &xi = x[i], &xj = x[j];
      Row<T> &bi = born[i], &bj = born[j], &wi = slope_born[i], &wj = slope_born[j], &e = energy[i], &s = slope[p];
      FOR_EACH_LANE {
        const Vec<T> d = xi[l] - xj[l];
        const T r2 = dot(d, d), inverse2 = 1 / r2, inverse6 = inverse2 * inverse2 * inverse2;
        const T e1 = coulomb * std::sqrt(inverse2), e6 = c6 * inverse6, e12 = c12 * inverse6 * inverse6;
        e[l] += e1 + (e12 - e6);
        T de = (6 * e6 - 12 * e12 - e1) * inverse2;
        if constexpr (solvated) {
          const T bb = bi[l] * bj[l], k = T(0.25) * r2 / bb;
          const T decay = exponential(-k), f2 = 1 / (r2 + bb * decay);
          const T screened = solvation * std::sqrt(f2), cubed = screened * f2;
          const T half = T(-0.5) * cubed * decay * (1 + k);
          e[l] += screened;
          de -= cubed * (1 - T(0.25) * decay);
          wi[l] += half * bj[l];
          wj[l] += half * bi[l];
        }
        s[l] = de;
      }
    }
    if (solvated)
      for (int a = 0; a < n; ++a) FOR_EACH_LANE slope_born[a][l] *= chain[a][l];
    for (int p = 0; p < terms.pairs.rows; ++p) {
      const int32_t i = terms.pairs.atoms[2 * p], j = terms.pairs.atoms[2 * p + 1];
      const Point<T> &xi = x[i], &xj = x[j];
      Point<T> &gi = gradient[i], &gj = gradient[j];
      Row<T> &wi = slope_born[i], &wj = slope_born[j], &di = first[p], &dj = second[p], &s = slope[p];
      FOR_EACH_LANE {
        T de = s[l];
        if constexpr (solvated) de += wi[l] * di[l] + wj[l] * dj[l];
        const Vec<T> g = de * (xi[l] - xj[l]);
        gi.add(l, g);
        gj.add(l, T(-1) * g);
      }
    }
  }

  // One atom's share of another's ψ / offset radius, and its derivative over r (0.5 ∫ in OBC's eq. 6).
  static inline T descreening(T r, T inverse, T own, T other, T& derivative) {
    const T upper = r + other, lower = std::max(own, std::abs(r - other));
    const T both = 1 / (lower * upper), below = both * upper, above = both * lower;
    const T difference = below - above, squares = difference * (below + above);
    const T log = logarithm(upper * below) * inverse, q = other * other * inverse;
    const T integral = T(0.5) * (difference - T(0.25) * (r - q) * squares - T(0.5) * log);
    derivative = upper > own ? (T(0.25) * log - T(0.125) * (r + q) * squares) * inverse * inverse : 0;
    return upper > own ? integral : 0;
  }

  // Born radii; the atoms' own terms and their slopes; ∂B/∂(sum of descreening) in `chain`.
  void born_radii() {
    std::fill(born.begin(), born.end(), Row<T>{});
    for (int p = 0; p < terms.pairs.rows; ++p) {
      const int32_t i = terms.pairs.atoms[2 * p], j = terms.pairs.atoms[2 * p + 1];
      const T own_i = terms.atoms[i][0], scaled_i = terms.atoms[i][1];
      const T own_j = terms.atoms[j][0], scaled_j = terms.atoms[j][1];
      const Point<T> &xi = x[i], &xj = x[j];
      Row<T> &bi = born[i], &bj = born[j], &di = first[p], &dj = second[p];
      FOR_EACH_LANE {
        const Vec<T> d = xi[l] - xj[l];
        const T r = std::sqrt(dot(d, d)), inverse = 1 / r;
        bi[l] += descreening(r, inverse, own_i, scaled_j, di[l]);
        bj[l] += descreening(r, inverse, own_j, scaled_i, dj[l]);
      }
    }
    for (int a = 0; a < n; ++a) {
      const T *value = terms.atoms[a], offset = value[0], radius = value[2], own = value[3], surface = value[4];
      const T alpha = value[5], beta = value[6], gamma = value[7];
      Row<T> &bi = born[a], &wi = slope_born[a], &ci = chain[a], &e = energy[a];
      FOR_EACH_LANE {
        const T psi = offset * bi[l];
        const T tanh = 1 - 2 / (exponential(2 * psi * (alpha + psi * (gamma * psi - beta))) + 1);
        const T b = 1 / (1 / offset - tanh / radius), ratio = radius / b, cube = ratio * ratio * ratio;
        const T self = own / b, area = surface * cube * cube;
        e[l] += self + area;
        wi[l] = -(self + 6 * area) / b;
        ci[l] = offset * b * b * (1 - tanh * tanh) / radius * (alpha + psi * (3 * gamma * psi - 2 * beta));
        bi[l] = b;
      }
    }
  }
};

template <class T>
void evaluate(const Terms<T>& terms, int threads, int64_t batch, const double* positions, double* energies,
              double* forces) {
  std::atomic<int64_t> next{0};
  const auto work = [&] {
    Tile<T> tile(terms);
    for (int64_t b; (b = next.fetch_add(LANES)) < batch;)
      tile.evaluate(positions + b * 3 * terms.n_atoms, int(std::min<int64_t>(LANES, batch - b)), energies + b,
                    forces + b * 3 * terms.n_atoms);
  };
  std::vector<std::thread> others;
  for (int t = 1; t < threads && t * LANES < batch; ++t) others.emplace_back(work);
  work();
  for (auto& thread : others) thread.join();
}

}  // namespace

#define EXPORT(NAME, T)                                                                                    \
  extern "C" void NAME(const Terms<T>* terms, int32_t threads, int64_t batch, const double* positions, \
                       double* energies, double* forces) {                                                \
    evaluate(*terms, threads, batch, positions, energies, forces);                                        \
  }
EXPORT(evaluate_float32, float)
EXPORT(evaluate_float64, double)
