// Activation functions on whole vectors. Included behind a vector header.
#pragma once

#include "native/kernels.hpp"

namespace bert_export::native {
namespace {

// e^x, for x at most 0.
inline Floats exponential(Floats x) { return power_of_two(multiply(x, all_of(1.44269504F))); }

// x / 2 + |x| erf(|x| / √2) / 2; erf by Abramowitz and Stegun 7.1.26, off by 1.5e-7 at most.
inline Floats gelu(Floats x) {
  const Floats size = magnitude(x);
  const Floats t = divide(all_of(1.0F), fused(size, all_of(0.3275911F * 0.70710678F), all_of(1.0F)));
  Floats y = all_of(0.5F * 1.061405429F);
  y = fused(y, t, all_of(0.5F * -1.453152027F));
  y = fused(y, t, all_of(0.5F * 1.421413741F));
  y = fused(y, t, all_of(0.5F * -0.284496736F));
  y = fused(y, t, all_of(0.5F * 0.254829592F));
  const Floats tail = multiply(multiply(y, t), exponential(multiply(multiply(x, x), all_of(-0.5F))));
  const Floats half_erf = subtract(all_of(0.5F), tail);
  return fused(size, half_erf, multiply(x, all_of(0.5F)));
}

#if defined(__AVX512F__)
// A multiple of GELU, for 8 bits: erf(|x| / √2) / 2 on [0, 5) in 16 pieces, a polynomial of degree 3 in
// each, whose factors one instruction looks up. Off by 2.4e-6 of the factor at most, a thousandth of a
// step.
class GeluOfBytes {
 public:
  explicit GeluOfBytes(float factor)
      : half_(all_of(0.5F * factor)),
        constant_(multiply(constants(), all_of(factor))),
        first_(multiply(firsts(), all_of(factor))),
        second_(multiply(seconds(), all_of(factor))),
        third_(multiply(thirds(), all_of(factor))) {}

  Floats operator()(Floats x) const {
    const Floats size = magnitude(x);
    const Floats within = smaller(size, all_of(4.9999995F));
    // The floor of the place among the pieces stands in the lowest bits of its sum with 2^23.
    const Integers piece = _mm512_castps_si512(
        _mm512_fmadd_round_ps(within, all_of(3.2F), all_of(8388608.0F),
                              _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC));
    Floats y = _mm512_permutexvar_ps(piece, third_);
    y = fused(y, within, _mm512_permutexvar_ps(piece, second_));
    y = fused(y, within, _mm512_permutexvar_ps(piece, first_));
    y = fused(y, within, _mm512_permutexvar_ps(piece, constant_));
    return fused(size, y, multiply(x, half_));
  }

 private:
  static Floats constants() {
    return _mm512_setr_ps(
        -1.43111686e-06F, -7.56174093e-04F, -7.84452260e-03F, -2.93792076e-02F,
        -6.14265390e-02F, -8.05082917e-02F, -5.76103628e-02F, 1.85790043e-02F,
        1.32483438e-01F, 2.53372461e-01F, 3.54596496e-01F, 4.24554676e-01F,
        4.65459675e-01F, 4.86009508e-01F, 4.94973481e-01F, 4.98394370e-01F);
  }
  static Floats firsts() {
    return _mm512_setr_ps(
        3.99032533e-01F, 4.05334413e-01F, 4.38259423e-01F, 5.06726980e-01F,
        5.84126949e-01F, 6.21806622e-01F, 5.86150110e-01F, 4.82175857e-01F,
        3.45508993e-01F, 2.16290236e-01F, 1.18784271e-01F, 5.74698746e-02F,
        2.45871171e-02F, 9.33172740e-03F, 3.15059139e-03F, 9.48422356e-04F);
  }
  static Floats seconds() {
    return _mm512_setr_ps(
        -1.00475946e-03F, -1.88952368e-02F, -7.03389049e-02F, -1.43226698e-01F,
        -2.05694929e-01F, -2.30518430e-01F, -2.12003946e-01F, -1.64668545e-01F,
        -1.09974086e-01F, -6.39098957e-02F, -3.25890109e-02F, -1.46702100e-02F,
        -5.85653167e-03F, -2.08067312e-03F, -6.59660669e-04F, -1.87044861e-04F);
  }
  static Floats thirds() {
    return _mm512_setr_ps(
        -6.31989166e-02F, -4.58075292e-02F, -1.87560096e-02F, 7.22496258e-03F,
        2.40719933e-02F, 2.95277350e-02F, 2.63220016e-02F, 1.91328339e-02F,
        1.18318610e-02F, 6.35541370e-03F, 3.00042913e-03F, 1.25430117e-03F,
        4.66635654e-04F, 1.55045156e-04F, 4.61300770e-05F, 1.23147265e-05F);
  }

  Floats half_;
  Floats constant_;
  Floats first_;
  Floats second_;
  Floats third_;
};
#endif

// 1 / (1 + e^-x) as e^min(x, 0) / (1 + e^-|x|), which does not overflow.
inline Floats sigmoid(Floats x) {
  const Floats power = exponential(subtract(zeros(), magnitude(x)));
  return divide(exponential(smaller(x, zeros())), add(all_of(1.0F), power));
}

inline Floats gelu_tanh(Floats x) {
  const Floats cubic = fused(multiply(x, x), all_of(0.044715F), all_of(1.0F));
  return multiply(x, sigmoid(multiply(multiply(x, all_of(2.0F * 0.79788456F)), cubic)));
}

inline Floats hyperbolic_tangent(Floats x) {
  return fused(sigmoid(add(x, x)), all_of(2.0F), all_of(-1.0F));
}

// An activation as a function object, so that loops hold its constants in registers.
struct Keep {
  explicit Keep(Activation) {}
  Floats operator()(Floats x) const { return x; }
};

struct Gelu {
  explicit Gelu(Activation) {}
  Floats operator()(Floats x) const { return gelu(x); }
};

// The rarer ones.
struct Other {
  explicit Other(Activation named) : activation(named) {}
  Floats operator()(Floats x) const {
    switch (activation) {
      case Activation::none: return x;
      case Activation::gelu: return gelu(x);
      case Activation::gelu_tanh: return gelu_tanh(x);
      case Activation::relu: return larger(x, zeros());
      case Activation::tanh: return hyperbolic_tangent(x);
      case Activation::sigmoid: return sigmoid(x);
      case Activation::silu: return multiply(x, sigmoid(x));
    }
    return x;
  }
  Activation activation;
};

// An activation times a factor, that of a quantizer.
template <typename Activate>
class Levels {
 public:
  Levels(Activation named, float factor) : activate_(named), factor_(all_of(factor)) {}
  Floats operator()(Floats x) const { return multiply(activate_(x), factor_); }

 private:
  Activate activate_;
  Floats factor_;
};
#if defined(__AVX512F__)
template <>
class Levels<Gelu> : public GeluOfBytes {
 public:
  Levels(Activation, float factor) : GeluOfBytes(factor) {}
};
#endif

}  // namespace
}  // namespace bert_export::native
