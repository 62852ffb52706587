// SPDX-License-Identifier: MIT
// Affine quantization with parameters per column: the arithmetic of steps.hpp with a vector of
// each. Twins: bitmill.reference.column_encode, column_decode.
#pragma once
#include "steps.hpp"

namespace bitmill::BITMILL_ISA {
namespace {

template <class Step>
BITMILL_INLINE Step step_at(const Quantizer& q, ColumnParams p, int64_t col, int64_t n) {
  if (n == 16)
    return Step(q, load(p.offset + col), load(p.scale + col), load_i32(p.zero_point + col));
  return Step(q, load(p.offset + col, n), load(p.scale + col, n), load_i32(p.zero_point + col, n));
}

template <class T, class Code>
void encode_columns(const Quantizer& q, const T* x, int64_t rows, int64_t cols, ColumnParams given,
                    Code* codes) {
  for (int64_t row = 0; row < rows; ++row, x += cols, codes += cols) {
    int64_t i = 0;
    for (; i + 16 <= cols; i += 16)
      store_code(codes + i, step_at<Encoder>(q, given, i, 16)(load(x + i)));
    if (const int64_t n = cols - i)
      store_code(codes + i, step_at<Encoder>(q, given, i, n)(load(x + i, n)), n);
  }
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
  for (int64_t row = 0; row < rows; ++row, codes += cols, out += cols) {
    int64_t i = 0;
    for (; i + 16 <= cols; i += 16)
      store(out + i, step_at<Decoder>(q, given, i, 16)(load_code(codes + i)));
    if (const int64_t n = cols - i)
      store(out + i, step_at<Decoder>(q, given, i, n)(load_code(codes + i, n)), n);
  }
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
