// SHAKE and RATTLE for many replicas: bond after bond, LANES replicas side by side in each loop.
//
// Ryckaert, Ciccotti, Berendsen, J. Comput. Phys. 23, 327 (1977); Andersen, ibid. 52, 24 (1983).

#include <vector>

#include "simd.h"

namespace {

struct Bonds {
  int32_t rows, n_atoms;
  const int32_t* atoms;  // (rows, 2)
  const double* values;  // (rows, 3): square of the length, inverse masses of the two atoms
};

struct alignas(64) Place {
  double x[LANES], y[LANES], z[LANES];
  Vec<double> operator[](int l) const { return {x[l], y[l], z[l]}; }
  void add(int l, Vec<double> d) { x[l] += d.x, y[l] += d.y, z[l] += d.z; }
  void set(int l, Vec<double> d) { x[l] = d.x, y[l] = d.y, z[l] = d.z; }
};

class Tile {
 public:
  explicit Tile(const Bonds& bonds) : bonds(bonds), places(bonds.n_atoms), along(bonds.rows), held(bonds.n_atoms) {
    for (int i = 0; i < 2 * bonds.rows; ++i) held[bonds.atoms[i]] = true;
  }

  // The bonds as they are at `positions`, along which everything is shifted.
  void look(const double* positions, int size) {
    load(positions, size);
    for (int b = 0; b < bonds.rows; ++b) {
      const Place &i = places[bonds.atoms[2 * b]], &j = places[bonds.atoms[2 * b + 1]];
      FOR_EACH_LANE along[b].set(l, j[l] - i[l]);
    }
  }

  // Shift positions until |d²/length² - 1| is at most `tolerance`: how many replicas are not there in `most` sweeps.
  int shift_positions(double* positions, int size, double tolerance, int most) {
    return sweep(positions, size, tolerance, most, [this](int b, double* worst) {
      const double *value = bonds.values + 3 * b, square = value[0], one = value[1], other = value[2];
      Place &i = places[bonds.atoms[2 * b]], &j = places[bonds.atoms[2 * b + 1]];
      FOR_EACH_LANE {
        const Vec<double> d = j[l] - i[l], a = along[b][l];
        const double off = square - dot(d, d), g = off / (2 * (one + other) * dot(d, a));
        worst[l] = larger(worst[l], std::abs(off) / square);
        i.add(l, a * (-g * one));
        j.add(l, a * (g * other));
      }
    });
  }

  // Shift velocities until no bond's rate of change, over its length, is above `tolerance`.
  int shift_velocities(double* velocities, int size, double tolerance, int most) {
    return sweep(velocities, size, tolerance, most, [this](int b, double* worst) {
      const double *value = bonds.values + 3 * b, one = value[1], other = value[2];
      Place &i = places[bonds.atoms[2 * b]], &j = places[bonds.atoms[2 * b + 1]];
      FOR_EACH_LANE {
        const Vec<double> a = along[b][l];
        const double rate = dot(j[l] - i[l], a) / dot(a, a), g = -rate / (one + other);
        worst[l] = larger(worst[l], std::abs(rate));
        i.add(l, a * (-g * one));
        j.add(l, a * (g * other));
      }
    });
  }

 private:
  const Bonds& bonds;
  std::vector<Place> places, along;
  std::vector<bool> held;

  // The second where it is NaN, which std::max may lose.
  static INLINE double larger(double so_far, double value) { return value <= so_far ? so_far : value; }

  template <class Step> int sweep(double* values, int size, double tolerance, int most, Step step) {
    load(values, size);
    int late = size;
    for (int s = 0; s < most && late; ++s) {
      double worst[LANES] = {};
      for (int b = 0; b < bonds.rows; ++b) step(b, worst);
      late = 0;
      for (int l = 0; l < size; ++l) late += !(worst[l] <= tolerance);
    }
    store(values, size);
    return late;
  }

  // The lanes left over repeat the last replica.
  void load(const double* from, int size) {
    for (int a = 0; a < bonds.n_atoms; ++a) {
      if (!held[a]) continue;
      for (int l = 0; l < LANES; ++l) {
        const double* at = from + 3 * (size_t(std::min(l, size - 1)) * bonds.n_atoms + a);
        places[a].set(l, {at[0], at[1], at[2]});
      }
    }
  }

  void store(double* to, int size) const {
    for (int a = 0; a < bonds.n_atoms; ++a) {
      if (!held[a]) continue;
      for (int l = 0; l < size; ++l) {
        double* at = to + 3 * (size_t(l) * bonds.n_atoms + a);
        at[0] = places[a].x[l], at[1] = places[a].y[l], at[2] = places[a].z[l];
      }
    }
  }
};

template <class Work> int64_t each_tile(const Bonds& bonds, int64_t batch, const double* at, double* values, Work work) {
  Tile tile(bonds);
  const int64_t stride = 3 * bonds.n_atoms;
  int64_t late = 0;
  for (int64_t b = 0; b < batch; b += LANES) {
    const int size = int(std::min<int64_t>(LANES, batch - b));
    tile.look(at + b * stride, size);
    late += work(tile, values + b * stride, size);
  }
  return late;
}

}  // namespace

// Positions (batch, atoms, 3) back to the bonds' lengths, along the bonds as they are at `at`.
extern "C" int64_t shift_positions(const Bonds* bonds, int64_t batch, const double* at, double* positions,
                                   double tolerance, int32_t most) {
  return each_tile(*bonds, batch, at, positions, [=](Tile& tile, double* values, int size) {
    return tile.shift_positions(values, size, tolerance, most);
  });
}

// Velocities without any part along the bonds at `at`.
extern "C" int64_t shift_velocities(const Bonds* bonds, int64_t batch, const double* at, double* velocities,
                                    double tolerance, int32_t most) {
  return each_tile(*bonds, batch, at, velocities, [=](Tile& tile, double* values, int size) {
    return tile.shift_velocities(values, size, tolerance, most);
  });
}
