// SPDX-License-Identifier: MIT
// Affine quantization with parameters per column: the arithmetic of steps.hpp with a vector of
// each. Twins: bitmill.reference.column_encode, column_decode.
#pragma once
#include "steps.hpp"

namespace bitmill::BITMILL_ISA {
namespace {

template <class Step, class Lanes>
BITMILL_INLINE Step step_at(const Quantizer& q, ColumnParams p, int64_t i, Lanes lanes) {
  return Step(q, load(p.offset + i, lanes), load(p.scale + i, lanes),
              load_i32(p.zero_point + i, lanes));
}

template <class T, class Code>
void encode_columns(const Quantizer& q, const T* x, int64_t rows, int64_t cols, ColumnParams given,
                    Code* codes) {
  for (int64_t row = 0; row < rows; ++row, x += cols, codes += cols)
    each_vector(cols, [&](int64_t i, auto lanes) {
      const Encoder encode = step_at<Encoder>(q, given, i, lanes);
      store_code(codes + i, encode(load(x + i, lanes)), lanes);
    });
}

template <class T>
void column_encode(const Quantizer* q, const void* x_, int64_t rows, int64_t cols,
                   ColumnParams given, void* codes) {
  const T* x = (const T*)x_;
  if (q->wide())
    encode_columns(*q, x, rows, cols, given, (uint16_t*)codes);
  else
    encode_columns(*q, x, rows, cols, given, (uint8_t*)codes);
}

template <class T, class Code>
void decode_columns(const Quantizer& q, const Code* codes, int64_t rows, int64_t cols,
                    ColumnParams given, T* out) {
  for (int64_t row = 0; row < rows; ++row, codes += cols, out += cols)
    each_vector(cols, [&](int64_t i, auto lanes) {
      const Decoder decode = step_at<Decoder>(q, given, i, lanes);
      store(out + i, decode(load_code(codes + i, lanes)), lanes);
    });
}

template <class T>
void column_decode(const Quantizer* q, const void* codes, int64_t rows, int64_t cols,
                   ColumnParams given, void* out_) {
  T* out = (T*)out_;
  if (q->wide())
    decode_columns(*q, (const uint16_t*)codes, rows, cols, given, out);
  else
    decode_columns(*q, (const uint8_t*)codes, rows, cols, given, out);
}

} // namespace
} // namespace bitmill::BITMILL_ISA
