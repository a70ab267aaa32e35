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
// GELU for 8 bits: erf(|x| / √2) / 2 on [0, 5) in 16 pieces, a polynomial of degree 3 in each, whose
// factors one instruction looks up. Off by 1.5e-6 at most, a thousandth of a step.
class GeluOfBytes {
 public:
  Floats operator()(Floats x) const {
    const Floats size = magnitude(x);
    const Floats place = smaller(multiply(size, all_of(3.2F)), all_of(15.999999F));
    const Floats rest = _mm512_reduce_ps(place, 1);  // place less its floor
    // The floor stands in the lowest bits of its sum with 2^23.
    const Integers piece = _mm512_castps_si512(_mm512_add_round_ps(
        place, all_of(8388608.0F), _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC));
    Floats y = _mm512_permutexvar_ps(piece, third_);
    y = fused(y, rest, _mm512_permutexvar_ps(piece, second_));
    y = fused(y, rest, _mm512_permutexvar_ps(piece, first_));
    y = fused(y, rest, _mm512_permutexvar_ps(piece, constant_));
    return fused(size, y, multiply(x, all_of(0.5F)));
  }

 private:
  const Floats constant_ = _mm512_setr_ps(
      -6.57646662e-07F, 1.22667608e-01F, 2.34012374e-01F, 3.25747738e-01F, 3.94349485e-01F,
      4.40914833e-01F, 4.69604025e-01F, 4.85647473e-01F, 4.93790749e-01F, 4.97542374e-01F,
      4.99111127e-01F, 4.99706517e-01F, 4.99911613e-01F, 4.99975736e-01F, 4.99993932e-01F,
      4.99998618e-01F);
  const Floats first_ = _mm512_setr_ps(
      1.24687714e-01F, 1.18783347e-01F, 1.02611197e-01F, 8.03829334e-02F, 5.71015642e-02F,
      3.67823129e-02F, 2.14842054e-02F, 1.13786785e-02F, 5.46447717e-03F, 2.37950413e-03F,
      9.39514323e-04F, 3.36355502e-04F, 1.09187227e-04F, 3.21383836e-05F, 8.57741574e-06F,
      2.07573055e-06F);
  const Floats second_ = _mm512_setr_ps(
      -7.66804020e-05F, -6.04054320e-03F, -1.03031560e-02F, -1.20011669e-02F, -1.12702528e-02F,
      -8.99413100e-03F, -6.24383425e-03F, -3.81927895e-03F, -2.07402699e-03F, -1.00481634e-03F,
      -4.35778197e-04F, -1.69591438e-04F, -5.93314046e-05F, -1.86855562e-05F, -5.30318203e-06F,
      -1.35753211e-06F);
  const Floats third_ = _mm512_setr_ps(
      -1.94107818e-03F, -1.39699631e-03F, -5.72525161e-04F, 2.19559269e-04F, 7.33487647e-04F,
      9.00587385e-04F, 8.02913831e-04F, 5.83894912e-04F, 3.61267856e-04F, 1.94160574e-04F,
      9.17199320e-05F, 3.83679383e-05F, 1.42841550e-05F, 4.74972789e-06F, 1.41433576e-06F,
      3.77898208e-07F);
};
#else
struct GeluOfBytes {
  Floats operator()(Floats x) const { return gelu(x); }
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

template <bool bytes>
struct Gelu {
  explicit Gelu(Activation) {}
  Floats operator()(Floats x) const { return gelu(x); }
};
template <>
struct Gelu<true> : GeluOfBytes {
  explicit Gelu(Activation) {}
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

}  // namespace
}  // namespace bert_export::native
