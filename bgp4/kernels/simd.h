// Arithmetic that compilers vectorise over lanes: no branches, no calls.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

constexpr int LANES = 32;

#define INLINE inline __attribute__((always_inline))

#ifdef __clang__
#define FOR_EACH_LANE _Pragma("clang loop vectorize(assume_safety)") for (int l = 0; l < LANES; ++l)
#else
#define FOR_EACH_LANE _Pragma("GCC ivdep") for (int l = 0; l < LANES; ++l)
#endif

template <class T> struct Vec {
  T x, y, z;
  Vec operator+(Vec o) const { return {x + o.x, y + o.y, z + o.z}; }
  Vec operator-(Vec o) const { return {x - o.x, y - o.y, z - o.z}; }
  Vec operator*(T s) const { return {x * s, y * s, z * s}; }
};
template <class T> INLINE T dot(Vec<T> a, Vec<T> b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
template <class T> INLINE Vec<T> cross(Vec<T> a, Vec<T> b) {
  return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x};
}

template <class T> struct Format;
template <> struct Format<float> {
  using Int = uint32_t;
  static constexpr int mantissa = 23, bias = 127, odd_terms = 6, exp_terms = 8;
  static constexpr float largest_exp = 87;
};
template <> struct Format<double> {
  using Int = uint64_t;
  static constexpr int mantissa = 52, bias = 1023, odd_terms = 12, exp_terms = 14;
  static constexpr double largest_exp = 708;
};

template <class To, class From> To bits(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

// Σ z^k / (2k + 1) for |z| < 0.04: artanh q = q S(q²), arctan q = q S(-q²).
template <class T> INLINE T odd_series(T z) {
  T sum = 0;
  for (int k = Format<T>::odd_terms - 1; k >= 0; --k) sum = sum * z + T(1) / (2 * k + 1);
  return sum;
}

// x = 2^e m with m in [√½, √2), ln m = 2 artanh((m - 1) / (m + 1)); for positive normal numbers.
template <class T> INLINE T logarithm(T x) {
  using Int = typename Format<T>::Int;
  constexpr int s = Format<T>::mantissa;
  const Int low = bits<Int>(T(0.70710678118654752)), raised = bits<Int>(x) - low + bits<Int>(T(1));
  const T shift = T(Int(1) << s);
  const T e = bits<T>((raised >> s) | bits<Int>(shift)) - (shift + Format<T>::bias);
  const T m = bits<T>((raised & ((Int(1) << s) - 1)) + low), q = (m - 1) / (m + 1);
  return e * T(0.69314718055994531) + 2 * q * odd_series(q * q);
}

// 2^n e^r with |r| < 0.35; adding 3/2 2^mantissa rounds to the integer n and leaves it in the bits.
template <class T> INLINE T exponential(T x) {
  using Int = typename Format<T>::Int;
  constexpr int s = Format<T>::mantissa;
  constexpr T largest = Format<T>::largest_exp, round = T(Int(3) << (s - 1));
  const T bounded = std::min(std::max(x, -largest), largest);
  const T shifted = bounded * T(1.4426950408889634) + round, n = shifted - round;
  const T r = (bounded - n * T(0.693145751953125)) - n * T(1.4286068203094172e-6);
  T sum = 1;
  for (int k = Format<T>::exp_terms - 1; k > 0; --k) sum = sum * r * (T(1) / k) + 1;
  return sum * bits<T>((bits<Int>(shifted) + Format<T>::bias) << s);
}

// The angle in [0, π] of the point (c, s), s ≥ 0, from the tangent of its eighth.
template <class T> INLINE T angle_of(T s, T c) {
  const T half = s / (std::sqrt(s * s + c * c) + std::abs(c));
  const T quarter = half / (1 + std::sqrt(1 + half * half));
  const T q = quarter / (1 + std::sqrt(1 + quarter * quarter));
  const T acute = 8 * q * odd_series(-q * q);
  return c < 0 ? T(3.14159265358979324) - acute : acute;
}
