// P4Inv: its two directions with their gradients, and its merge; autograd.py and state.py have the
// formulas, and the same in torch. Matrix products are a library's. What is of rank one goes over
// the rows of a matrix once, a few at a time, while they are in the nearest cache.

#include <cmath>
#include <numeric>
#include <tuple>
#include <type_traits>

#include <ATen/ATen.h>
#include <ATen/CPUFunctions.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

using Linear = Tensor(
    const Tensor&, const Tensor&, const std::optional<Tensor>&, std::string_view,
    c10::List<std::optional<at::Scalar>>, std::optional<std::string_view>);
const auto ONE_DNN = c10::Dispatcher::singleton().findSchema({"mkldnn::_linear_pointwise", ""});

// Whether oneDNN is the faster one for x W^T. MKL keeps to 256-bit vectors on CPUs that aren't
// Intel's. Where those have 512, oneDNN can take half the time, unless the matrices are small
// against its call. torch.backends.mkldnn.flags(enabled=False) turns it off.
bool by_one_dnn(const Tensor& x, const Tensor& W) {
#if defined(__x86_64__) && defined(__AVX512F__)
  static const bool serves = ONE_DNN && !__builtin_cpu_is("intel");
  return serves && at::globalContext().userEnabledMkldnn() && x.scalar_type() == at::kFloat &&
         x.numel() * W.size(0) >= 1 << 20;
#else
  return false;
#endif
}

// x W^T + b, the latter where there is one
Tensor product(const Tensor& x, const Tensor& W, const std::optional<Tensor>& b = {}) {
  if (by_one_dnn(x, W))
    return ONE_DNN->typed<Linear>().call(
        x, W, b, "none", c10::List<std::optional<at::Scalar>>(), "");
  return b ? at::cpu::addmm(*b, x, W.t()) : at::cpu::mm(x, W.t());
}

constexpr int ROWS = 4;
template <int R> using Rows = std::integral_constant<int, R>;

// body(first row, how many as Rows<R>) until all rows are done.
template <class Body> void over_rows(int64_t rows, Body body) {
  int64_t i = 0;
  for (; i + ROWS <= rows; i += ROWS) body(i, Rows<ROWS>());
  for (; i < rows; ++i) body(i, Rows<1>());
}

// c_r = factor (X_r · a)
template <class T, int R>
void dot_rows(Rows<R>, int64_t n, const T* X, const T* a, T factor, T* c) {
  T sums[R] = {};
  for (int64_t j = 0; j < n; ++j)
    for (int r = 0; r < R; ++r) sums[r] += X[r * n + j] * a[j];
  for (int r = 0; r < R; ++r) c[r] = factor * sums[r];
}

// sum += Σ_r c_r X_r
template <class T, int R>
void add_rows(Rows<R>, int64_t n, const T* X, const T* c, T* __restrict sum) {
  for (int64_t j = 0; j < n; ++j)
    for (int r = 0; r < R; ++r) sum[j] += c[r] * X[r * n + j];
}

// Y_r += c_r a + b
template <class T, int R>
void add_to_rows(Rows<R>, int64_t n, T* __restrict Y, const T* c, const T* a, const T* b) {
  for (int r = 0; r < R; ++r)
    for (int64_t j = 0; j < n; ++j) Y[r * n + j] += c[r] * a[j] + b[j];
}

// Y_r += c_r a
template <class T, int R>
void add_to_rows(Rows<R>, int64_t n, T* __restrict Y, const T* c, const T* a) {
  for (int r = 0; r < R; ++r)
    for (int64_t j = 0; j < n; ++j) Y[r * n + j] += c[r] * a[j];
}

template <class T> constexpr T ONE[ROWS] = {1, 1, 1, 1};
template <class T> constexpr T MINUS_ONE[ROWS] = {-1, -1, -1, -1};

template <class T> const T* read(const Tensor& t) { return t.const_data_ptr<T>(); }
template <class T> T* write(const Tensor& t) { return t.mutable_data_ptr<T>(); }

Tensor empty_vector(int64_t size, const Tensor& like) {
  return at::detail::empty_cpu({size}, like.options());
}

// w = A^-1 u and q = A^-T v, and -A^-1 b where that is wanted, in one pass over A^-1; f.
template <class T>
double perturb(
    int64_t n, const T* A_inv, const T* u, const T* v, T* w, T* q, const T* b = nullptr,
    T* shift = nullptr) {
  std::fill_n(q, n, T(0));
  over_rows(n, [&](int64_t i, auto rows) {
    dot_rows(rows, n, A_inv + i * n, u, T(1), w + i);
    add_rows(rows, n, A_inv + i * n, v + i, q);
    if (b) dot_rows(rows, n, A_inv + i * n, b, T(-1), shift + i);
  });
  T change;
  dot_rows(Rows<1>(), n, w, v, T(1), &change);
  return 1 + double(change);
}

// What backward needs of a perturbation and a batch, in one tensor of their dtype.
template <class T> struct Kept {
  T *per_f, *w, *q, *s;  // 1 / f; A^-1 u and A^-T v, (n,); v^T x, (batch,)
  Kept(const Tensor& kept, int64_t n)
      : per_f(write<T>(kept)), w(per_f + 1), q(w + n), s(q + n) {}
  static Tensor empty(const Tensor& x) { return empty_vector(1 + 2 * x.size(1) + x.size(0), x); }

  // All but s; log|f|.
  template <class... Shift>
  double fill(int64_t n, const T* A_inv, const T* u, const T* v, Shift... shift) {
    const double f = perturb(n, A_inv, u, v, w, q, shift...);
    *per_f = T(1 / f);
    return std::log(std::abs(f));
  }
};

// The gradients of u, v and b, to which the batch is yet to be added.
template <class T> struct Sums {
  T *gu, *gv, *gb;
  Sums(const variable_list& gradients, const Kept<T>& kept, const Tensor& gl, int sign, int64_t n)
      : gu(write<T>(gradients[1])), gv(write<T>(gradients[2])), gb(write<T>(gradients[3])) {
    T weight = 0;  // d loss / d log|f|, over f
    if (gl.defined()) {
      const Tensor values = gl.contiguous();
      const T* first = read<T>(values);
      weight = sign * *kept.per_f * std::accumulate(first, first + values.numel(), T(0));
    }
    for (int64_t j = 0; j < n; ++j) gu[j] = weight * kept.q[j], gv[j] = weight * kept.w[j];
    std::fill_n(gb, n, T(0));
  }
};

variable_list gradients_of(const Tensor& gx, const Tensor& u, size_t arguments) {
  variable_list made(arguments);
  made[0] = gx;
  for (int i = 1; i <= 3; ++i) made[i] = empty_vector(u.numel(), u);
  return made;
}

// y = (A + u v^T) x + b and log|det A| + log|f|.
struct P4Forward : Function<P4Forward> {
  static variable_list forward(
      AutogradContext* ctx,
      const Tensor& x,          // (batch, n)
      const Tensor& u,          // (n,)
      const Tensor& v,          // (n,)
      const Tensor& b,          // (n,)
      const Tensor& A,          // (n, n)
      const Tensor& A_inv,      // (n, n)
      const Tensor& logabsdet)  // (), of A
  {
    at::AutoDispatchBelowADInplaceOrView guard;
    const int64_t batch = x.size(0), n = x.size(1);
    const Tensor y = product(x, A), log = empty_vector(batch, x);
    Tensor kept;
    AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "p4_forward", [&] {
      using T = scalar_t;
      kept = Kept<T>::empty(x);
      Kept<T> k(kept, n);
      const double change = k.fill(n, read<T>(A_inv), read<T>(u), read<T>(v));
      std::fill_n(write<T>(log), batch, T(*read<double>(logabsdet) + change));
      const T *x_ = read<T>(x), *u_ = read<T>(u), *v_ = read<T>(v), *b_ = read<T>(b);
      T* y_ = write<T>(y);
      over_rows(batch, [&](int64_t i, auto rows) {
        dot_rows(rows, n, x_ + i * n, v_, T(1), k.s + i);
        add_to_rows(rows, n, y_ + i * n, k.s + i, u_, b_);
      });
    });
    ctx->save_for_backward({x, u, v, A, A_inv, kept});
    ctx->set_materialize_grads(false);
    return {y, log};
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &x = saved[0], &u = saved[1], &v = saved[2], &A = saved[3], &A_inv = saved[4];
    const Tensor gy = grads[0].defined() ? grads[0].contiguous() : at::zeros_like(x);
    if (at::GradMode::is_enabled()) return differentiable(x, u, v, A, A_inv, gy, grads[1]);
    at::AutoDispatchBelowADInplaceOrView guard;
    const Tensor gx = ctx->needs_input_grad(0) ? product(gy, A.t()) : Tensor();
    const auto gradients = gradients_of(gx, u, 7);
    AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "p4_forward_backward", [&] {
      using T = scalar_t;
      const int64_t batch = x.size(0), n = x.size(1);
      const Kept<T> k(saved[5], n);
      const Sums<T> sums(gradients, k, grads[1], 1, n);
      const T *x_ = read<T>(x), *gy_ = read<T>(gy), *u_ = read<T>(u), *v_ = read<T>(v);
      T* gx_ = gx.defined() ? write<T>(gx) : nullptr;
      over_rows(batch, [&](int64_t i, auto rows) {
        T r[ROWS];
        dot_rows(rows, n, gy_ + i * n, u_, T(1), r);
        add_rows(rows, n, gy_ + i * n, k.s + i, sums.gu);
        add_rows(rows, n, gy_ + i * n, ONE<T>, sums.gb);
        add_rows(rows, n, x_ + i * n, r, sums.gv);
        if (gx_) add_to_rows(rows, n, gx_ + i * n, r, v_);
      });
    });
    return gradients;
  }

  // The same with a graph of its own, for second derivatives.
  static variable_list differentiable(
      const Tensor& x, const Tensor& u, const Tensor& v, const Tensor& A, const Tensor& A_inv,
      const Tensor& gy, const Tensor& gl) {
    const Tensor w = A_inv.mv(u), q = A_inv.t().mv(v), r = gy.mv(u);
    const Tensor weight = gl.defined() ? gl.sum() / (1 + v.dot(w)) : at::zeros({}, u.options());
    return {gy.mm(A) + r.outer(v), gy.t().mv(x.mv(v)) + weight * q, x.t().mv(r) + weight * w,
            gy.sum(0), Tensor(), Tensor(), Tensor()};
  }
};

// x = (A + u v^T)^-1 (y - b) and -log|det A| - log|f|.
struct P4Inverse : Function<P4Inverse> {
  static variable_list forward(
      AutogradContext* ctx,
      const Tensor& y,          // (batch, n)
      const Tensor& u,          // (n,)
      const Tensor& v,          // (n,)
      const Tensor& b,          // (n,)
      const Tensor& A_inv,      // (n, n)
      const Tensor& logabsdet)  // (), of A
  {
    at::AutoDispatchBelowADInplaceOrView guard;
    const int64_t batch = y.size(0), n = y.size(1);
    const Tensor x = product(y, A_inv), log = empty_vector(batch, y), shift = empty_vector(n, y);
    Tensor kept;
    AT_DISPATCH_FLOATING_TYPES(y.scalar_type(), "p4_inverse", [&] {
      using T = scalar_t;
      kept = Kept<T>::empty(y);
      Kept<T> k(kept, n);
      const double change = k.fill(
          n, read<T>(A_inv), read<T>(u), read<T>(v), read<T>(b), write<T>(shift));
      std::fill_n(write<T>(log), batch, T(-*read<double>(logabsdet) - change));
      const T *v_ = read<T>(v), *shift_ = read<T>(shift);
      T offset, *x_ = write<T>(x);
      dot_rows(Rows<1>(), n, shift_, v_, -*k.per_f, &offset);
      over_rows(batch, [&](int64_t i, auto rows) {
        T minus_s[ROWS];
        dot_rows(rows, n, x_ + i * n, v_, -*k.per_f, minus_s);
        for (int r = 0; r < rows; ++r) minus_s[r] += offset;
        add_to_rows(rows, n, x_ + i * n, minus_s, k.w, shift_);
        for (int r = 0; r < rows; ++r) k.s[i + r] = -minus_s[r];
      });
    });
    ctx->save_for_backward({u, v, A_inv, x, kept});
    ctx->set_materialize_grads(false);
    return {x, log};
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &u = saved[0], &v = saved[1], &A_inv = saved[2], &x = saved[3];
    const Tensor gx = grads[0].defined() ? grads[0].contiguous() : at::zeros_like(x);
    if (at::GradMode::is_enabled()) return differentiable(x, u, v, A_inv, gx, grads[1]);
    at::AutoDispatchBelowADInplaceOrView guard;
    const Tensor gy = product(gx, A_inv.t());
    const auto gradients = gradients_of(gy, u, 6);
    AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "p4_inverse_backward", [&] {
      using T = scalar_t;
      const int64_t batch = x.size(0), n = x.size(1);
      const Kept<T> k(saved[4], n);
      const Sums<T> sums(gradients, k, grads[1], -1, n);
      const T *x_ = read<T>(x), *gx_ = read<T>(gx);
      T* gy_ = write<T>(gy);
      over_rows(batch, [&](int64_t i, auto rows) {
        T minus_r[ROWS], minus_s[ROWS];
        for (int r = 0; r < rows; ++r) minus_s[r] = -k.s[i + r];
        dot_rows(rows, n, gx_ + i * n, k.w, -*k.per_f, minus_r);
        add_to_rows(rows, n, gy_ + i * n, minus_r, k.q);
        add_rows(rows, n, gy_ + i * n, minus_s, sums.gu);
        add_rows(rows, n, gy_ + i * n, MINUS_ONE<T>, sums.gb);
        add_rows(rows, n, x_ + i * n, minus_r, sums.gv);
      });
    });
    return gradients;
  }

  static variable_list differentiable(
      const Tensor& x, const Tensor& u, const Tensor& v, const Tensor& A_inv,
      const Tensor& gx, const Tensor& gl) {
    const Tensor w = A_inv.mv(u), q = A_inv.t().mv(v), f = 1 + v.dot(w), r = gx.mv(w) / f;
    const Tensor gy = gx.mm(A_inv) - r.outer(q);
    const Tensor weight = gl.defined() ? gl.sum() / f : at::zeros({}, u.options());
    return {gy, -(gy.t().mv(x.mv(v)) + weight * q), -(x.t().mv(r) + weight * w), -gy.sum(0),
            Tensor(), Tensor()};
  }
};

// A vector of a layer of n features, laid out for reading.
Tensor vector(const Tensor& given, int64_t n, const char* name) {
  TORCH_CHECK(given.dim() == 1 && given.size(0) == n, "P4Inv: expected ", name, " of shape (", n,
              ",), got ", given.sizes());
  return given.contiguous();
}

// w = A^-1 u, q = A^-T v and f = 1 + v^T w.
std::tuple<Tensor, Tensor, double> p4_perturbation(
    const Tensor& A_inv, const Tensor& given_u, const Tensor& given_v) {
  at::AutoDispatchBelowADInplaceOrView guard;
  const int64_t n = A_inv.size(0);
  const Tensor u = vector(given_u, n, "u"), v = vector(given_v, n, "v");
  const Tensor w = empty_vector(n, u), q = empty_vector(n, u);
  double f = 0;
  AT_DISPATCH_FLOATING_TYPES(u.scalar_type(), "p4_perturbation", [&] {
    using T = scalar_t;
    f = perturb(n, read<T>(A_inv), read<T>(u), read<T>(v), write<T>(w), write<T>(q));
  });
  return {w, q, f};
}

// A + u v^T in the place of A, with its inverse and its determinant; state.py has the formulas.
// Returns the residual of the inverse at z.
double p4_merge(
    const Tensor& A, const Tensor& A_inv, const Tensor& sign, const Tensor& logabsdet,
    const Tensor& given_u, const Tensor& given_v, const Tensor& given_z, const Tensor& w,
    const Tensor& q, double f) {
  at::AutoDispatchBelowADInplaceOrView guard;
  const int64_t n = A.size(0);
  const Tensor u = vector(given_u, n, "u"), v = vector(given_v, n, "v"), z = vector(given_z, n, "z");
  for (const Tensor& changed : {A, A_inv, sign, logabsdet}) {
    TORCH_CHECK(changed.is_contiguous(), "p4_merge: expected contiguous tensors");
    torch::autograd::impl::bump_version(changed);
  }
  const Tensor t = empty_vector(n, A);
  double residual = 0;
  AT_DISPATCH_FLOATING_TYPES(A.scalar_type(), "p4_merge", [&] {
    using T = scalar_t;
    const T *u_ = read<T>(u), *v_ = read<T>(v), *z_ = read<T>(z), *w_ = read<T>(w),
            *q_ = read<T>(q);
    T *A_ = write<T>(A), *A_inv_ = write<T>(A_inv), *t_ = write<T>(t);
    over_rows(n, [&](int64_t i, auto rows) {
      T minus_w[ROWS];
      for (int r = 0; r < rows; ++r) minus_w[r] = -w_[i + r] / T(f);
      add_to_rows(rows, n, A_inv_ + i * n, minus_w, q_);
      dot_rows(rows, n, A_inv_ + i * n, z_, T(1), t_ + i);
    });
    over_rows(n, [&](int64_t i, auto rows) {
      T found[ROWS];
      add_to_rows(rows, n, A_ + i * n, u_ + i, v_);
      dot_rows(rows, n, A_ + i * n, t_, T(1), found);
      for (int r = 0; r < rows; ++r) residual += std::pow(double(found[r]) - double(z_[i + r]), 2);
    });
    if (f < 0) *write<T>(sign) *= -1;
  });
  *write<double>(logabsdet) += std::log(std::abs(f));
  return std::sqrt(residual);
}

void check(const Tensor& x, const Tensor& u) {
  TORCH_CHECK(x.dim() == 2 && x.size(1) == u.numel(), "P4Inv: expected an input of shape (batch, ",
              u.numel(), "), got ", x.sizes());
}

std::tuple<Tensor, Tensor> p4_forward(
    const Tensor& x, const Tensor& u, const Tensor& v, const Tensor& b, const Tensor& A,
    const Tensor& A_inv, const Tensor& logabsdet) {
  check(x, u);
  const auto out = P4Forward::apply(
      x.contiguous(), u.contiguous(), v.contiguous(), b.contiguous(), A, A_inv.contiguous(),
      logabsdet);
  return {out[0], out[1]};
}

std::tuple<Tensor, Tensor> p4_inverse(
    const Tensor& y, const Tensor& u, const Tensor& v, const Tensor& b, const Tensor& A,
    const Tensor& A_inv, const Tensor& logabsdet) {
  check(y, u);
  const auto out = P4Inverse::apply(
      y.contiguous(), u.contiguous(), v.contiguous(), b.contiguous(), A_inv.contiguous(), logabsdet);
  return {out[0], out[1]};
}

Tensor p4_matmul(const Tensor& a, const Tensor& b) {
  at::AutoDispatchBelowADInplaceOrView guard;
  return product(a, b.t());
}

// y = x W^T + b, as torch's own but for who multiplies.
struct LinearMap : Function<LinearMap> {
  static Tensor forward(
      AutogradContext* ctx,
      const Tensor& x,  // (batch, m)
      const Tensor& W,  // (n, m)
      const Tensor& b)  // (n,)
  {
    at::AutoDispatchBelowADInplaceOrView guard;
    ctx->save_for_backward({x, W});
    return product(x, W, b);
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &x = saved[0], &W = saved[1], g = grads[0].contiguous();
    if (at::GradMode::is_enabled()) return {g.mm(W), g.t().mm(x), g.sum(0)};
    at::AutoDispatchBelowADInplaceOrView guard;
    const Tensor gx = ctx->needs_input_grad(0) ? product(g, W.t()) : Tensor();
    const Tensor gW = ctx->needs_input_grad(1) ? product(g.t(), x.t()) : Tensor();
    return {gx, gW, g.sum(0)};
  }
};

Tensor p4_linear(const Tensor& x, const Tensor& W, const Tensor& b) {
  return LinearMap::apply(x, W, b);
}

TORCH_LIBRARY(bgp4, m) {
  m.def("p4_forward", &p4_forward);
  m.def("p4_inverse", &p4_inverse);
  m.def("p4_perturbation", &p4_perturbation);
  m.def("p4_merge(Tensor(a!) A, Tensor(b!) A_inv, Tensor(c!) sign, Tensor(d!) logabsdet, "
        "Tensor u, Tensor v, Tensor z, Tensor w, Tensor q, float f) -> float", &p4_merge);
  m.def("p4_matmul", &p4_matmul);
  m.def("p4_linear", &p4_linear);
  m.def("p4_by_one_dnn", &by_one_dnn);
}

}  // namespace
