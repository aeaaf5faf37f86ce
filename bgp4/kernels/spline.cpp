// Rational-quadratic splines and their gradients; spline.py has the formulas, and the same in torch.
// Knots are planes of (knots, columns), values (rows, columns): every row of a column has the
// column's spline. Loops over the columns of a block do the same to each, so that they vectorise.

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace {

constexpr int BLOCK = 128;

#define INLINE inline __attribute__((always_inline))

#ifdef __clang__
#define FOR_EACH_COLUMN _Pragma("clang loop vectorize(assume_safety)") for (int j = 0; j < n; ++j)
#else
#define FOR_EACH_COLUMN _Pragma("GCC ivdep") for (int j = 0; j < n; ++j)
#endif

template <class T>
struct Splines {
  int64_t columns, knots, slope_knots;  // on the circle slope_knots is knots - 1
  const T *x, *y, *slopes;

  bool circular() const { return slope_knots < knots; }
  int64_t slope_plane(int64_t knot) const { return knot % slope_knots; }
};

// What a value's bin is: its number, lower corner, size and slopes.
template <class T>
struct Bins {
  T number[BLOCK], x[BLOCK], width[BLOCK], y[BLOCK], height[BLOCK], left[BLOCK], right[BLOCK];

  Bins(const Splines<T>& s, const T* edges, int64_t first, int n, const T* values) {
    for (int64_t k = 0; k + 1 < s.knots; ++k) {
      const int64_t low = k * s.columns + first, high = low + s.columns;
      const T *edge = edges + low, *x0 = s.x + low, *x1 = s.x + high, *y0 = s.y + low,
              *y1 = s.y + high;
      const T* slope0 = s.slopes + s.slope_plane(k) * s.columns + first;
      const T* slope1 = s.slopes + s.slope_plane(k + 1) * s.columns + first;
      FOR_EACH_COLUMN {
        const bool passed = k == 0 || values[j] >= edge[j];
        number[j] = passed ? T(k) : number[j];
        x[j] = passed ? x0[j] : x[j];
        width[j] = passed ? x1[j] - x0[j] : width[j];
        y[j] = passed ? y0[j] : y[j];
        height[j] = passed ? y1[j] - y0[j] : height[j];
        left[j] = passed ? slope0[j] : left[j];
        right[j] = passed ? slope1[j] : right[j];
      }
    }
  }
};

template <class T> INLINE T within(T value, T low, T high) {  // NaN stays
  return value < low ? low : value > high ? high : value;
}

// The spline at the relative position t of a bin, in [0, 1].
template <class T>
struct Inside {
  T mean, curvature, t, s, ts, numerator, denominator, steepness, slope;

  INLINE Inside(const Bins<T>& b, int j, T t) : t(t), s(1 - t), ts(t * (1 - t)) {
    mean = b.height[j] / b.width[j];
    curvature = b.left[j] + b.right[j] - 2 * mean;
    denominator = mean + curvature * ts;
    numerator = mean * t * t + b.left[j] * ts;
    steepness = b.right[j] * t * t + 2 * mean * ts + b.left[j] * s * s;
    slope = steepness * (mean / denominator) * (mean / denominator);
  }
};

// Where a value lies: t, in its bin, and how far beyond the end it is, in units of x or y.
template <class T> struct Place { T t, beyond; };

template <class T> INLINE Place<T> place_of_x(const Bins<T>& b, int j, T x) {
  const T t = (x - b.x[j]) / b.width[j], inner = within(t, T(0), T(1));
  return {inner, (t - inner) * b.width[j]};
}

template <class T> INLINE Place<T> place_of_y(const Bins<T>& b, int j, T y) {
  const T rise = y - b.y[j], height = b.height[j], inner = within(rise, T(0), height);
  const T mean = height / b.width[j], curvature = b.left[j] + b.right[j] - 2 * mean;
  const T q2 = height * (mean - b.left[j]) + inner * curvature;
  const T q1 = height * b.left[j] - inner * curvature, q0 = -mean * inner;
  const T square = q1 * q1 - 4 * q2 * q0;
  const T discriminant = square < T(1e-30) ? T(1e-30) : square;
  const T t = within(2 * q0 / (-q1 - std::sqrt(discriminant)), T(0), T(1));
  return {rise >= height ? T(1) : t, rise - inner};
}

template <class T, class Body>
void over_blocks(int64_t rows, int64_t columns, Body body) {
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t first = 0; first < columns; first += BLOCK)
      body(i * columns + first, first, int(std::min<int64_t>(BLOCK, columns - first)));
}

// y and dy/dx of x, or x and dy/dx of y.
template <class T>
void evaluate(const Splines<T>& s, bool inverse, int64_t rows, const T* values, T* out, T* slope) {
  const T tail = s.circular() ? 0 : 1;
  over_blocks<T>(rows, s.columns, [&](int64_t at, int64_t first, int n) {
    const Bins<T> b(s, inverse ? s.y : s.x, first, n, values + at);
    if (inverse)
      FOR_EACH_COLUMN {
        const Place<T> place = place_of_y(b, j, values[at + j]);
        const Inside<T> f(b, j, place.t);
        out[at + j] = b.x[j] + b.width[j] * f.t + tail * place.beyond / f.slope;
        slope[at + j] = f.slope;
      }
    else
      FOR_EACH_COLUMN {
        const Place<T> place = place_of_x(b, j, values[at + j]);
        const Inside<T> f(b, j, place.t);
        out[at + j] = b.y[j] + b.height[j] * f.numerator / f.denominator +
                      tail * place.beyond * f.slope;
        slope[at + j] = f.slope;
      }
  });
}

// Gradients of a value's bin, all but the number.
template <class T>
struct BinGradients {
  T x0[BLOCK], x1[BLOCK], y0[BLOCK], y1[BLOCK], left[BLOCK], right[BLOCK];
};

// From gradients of y and log dy/dx those of x (returned) and of the bin. An inverse's outputs,
// x and log dx/dy, go as the spline at their x does: dx = (dy - what the spline changes) / slope.
template <bool inverse, class T>
INLINE T gradients_of(
    const Bins<T>& b, int j, T value, T tail, T g_out, T g_log, BinGradients<T>& g) {
  const Place<T> place = inverse ? place_of_y(b, j, value) : place_of_x(b, j, value);
  const Inside<T> f(b, j, place.t);
  const T t = f.t, bend = 1 - 2 * t;
  const bool is_inside = place.beyond == 0;
  const T D_t = f.curvature * bend;
  const T S_t = 2 * (b.right[j] * t + f.mean * bend - b.left[j] * f.s);
  const T log_t = S_t / f.steepness - 2 * D_t / f.denominator;
  const T log_x = is_inside ? log_t / b.width[j] : 0;
  T g_y = g_out, g_L = g_log, g_in = 0;
  if (inverse) {
    g_L = -g_log;
    g_in = (g_out + g_L * log_x) / f.slope;
    g_y = -g_in;
  }
  const T beyond = tail * (inverse ? place.beyond / f.slope : place.beyond);
  g_L += g_y * beyond * f.slope;
  const T ratio = f.numerator / f.denominator;
  const T g_N = g_y * b.height[j] / f.denominator;
  const T g_D = -g_N * ratio - 2 * g_L / f.denominator, g_S = g_L / f.steepness;
  const T N_t = 2 * f.mean * t + b.left[j] * bend;
  const T g_t = g_N * N_t + g_D * D_t + g_S * S_t;
  const T g_mean = g_N * t * t + g_D * (1 - 2 * f.ts) + g_S * 2 * f.ts + 2 * g_L / f.mean;
  const T g_x = is_inside ? g_t / b.width[j] : tail * g_y * f.slope;
  const T g_width = -g_x * t - g_mean * f.mean / b.width[j];
  const T g_height = g_y * ratio + g_mean / b.width[j];
  g.x0[j] = -g_x - g_width;
  g.x1[j] = g_width;
  g.y0[j] = g_y - g_height;
  g.y1[j] = g_height;
  g.left[j] = (g_N + g_D) * f.ts + g_S * f.s * f.s;
  g.right[j] = g_D * f.ts + g_S * t * t;
  return inverse ? g_in : g_x;
}

// sum += terms where the bin is number k
template <class T>
INLINE void add_where(const T* number, T k, int n, const T* terms, T* sum) {
  FOR_EACH_COLUMN sum[j] += number[j] == k ? terms[j] : 0;
}

// Adds to the gradients of the knots, which lie as the knots do.
template <class T>
void differentiate(
    const Splines<T>& s, bool inverse, int64_t rows, const T* values, const T* g_out,
    const T* g_log, T* g_values, T* g_x, T* g_y, T* g_slopes) {
  const T tail = s.circular() ? 0 : 1;
  over_blocks<T>(rows, s.columns, [&](int64_t at, int64_t first, int n) {
    const T *value = values + at, *out = g_out + at, *log = g_log + at;
    const Bins<T> b(s, inverse ? s.y : s.x, first, n, value);
    BinGradients<T> g;
    T* g_value = g_values + at;
    if (inverse)
      FOR_EACH_COLUMN g_value[j] = gradients_of<true>(b, j, value[j], tail, out[j], log[j], g);
    else
      FOR_EACH_COLUMN g_value[j] = gradients_of<false>(b, j, value[j], tail, out[j], log[j], g);
    for (int64_t k = 0; k + 1 < s.knots; ++k) {
      const int64_t low = k * s.columns + first, high = low + s.columns;
      add_where(b.number, T(k), n, g.x0, g_x + low);
      add_where(b.number, T(k), n, g.x1, g_x + high);
      add_where(b.number, T(k), n, g.y0, g_y + low);
      add_where(b.number, T(k), n, g.y1, g_y + high);
      add_where(b.number, T(k), n, g.left, g_slopes + s.slope_plane(k) * s.columns + first);
      add_where(b.number, T(k), n, g.right, g_slopes + s.slope_plane(k + 1) * s.columns + first);
    }
  });
}

}  // namespace

#define SPLINES(name, T)                                                                        \
  extern "C" void evaluate_##name(                                                              \
      int64_t rows, int64_t columns, int64_t knots, int64_t slope_knots, int32_t inverse,       \
      const T* x, const T* y, const T* slopes, const T* values, T* out, T* slope) {             \
    evaluate<T>({columns, knots, slope_knots, x, y, slopes}, inverse, rows, values, out, slope); \
  }                                                                                             \
  extern "C" void differentiate_##name(                                                         \
      int64_t rows, int64_t columns, int64_t knots, int64_t slope_knots, int32_t inverse,       \
      const T* x, const T* y, const T* slopes, const T* values, const T* g_out, const T* g_log, \
      T* g_values, T* g_x, T* g_y, T* g_slopes) {                                               \
    differentiate<T>(                                                                           \
        {columns, knots, slope_knots, x, y, slopes}, inverse, rows, values, g_out, g_log,       \
        g_values, g_x, g_y, g_slopes);                                                          \
  }

SPLINES(float32, float)
SPLINES(float64, double)
