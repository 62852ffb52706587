// SPDX-License-Identifier: MIT
// What the machine can do: memory streams that do nothing else, and peaks of multiply-accumulates.
// bench/ measures the kernels against them in the same run.
#pragma once
#include "../simd/simd.hpp"

namespace bitmill::BITMILL_ISA {
namespace {

// Steps of IN lines of 64 bytes read and OUT lines streamed; what is written depends on what was
// read. Without output, the last line of `out` holds the result, so that the reads are kept.
template <int IN, int OUT> void stream_run(const char* x, char* out, int64_t steps) {
  u8x64 seen = load_bytes(out);
  for (int64_t i = 0; i < steps; ++i, x += IN * 64, out += OUT * 64) {
    u8x64 step = seen;
    for (int k = 0; k < IN; ++k) step = k ? or_(step, load_bytes(x + k * 64)) : load_bytes(x);
    for (int k = 0; k < OUT; ++k) stream_bytes(out + k * 64, step);
    if (OUT == 0) seen = or_(seen, step);
  }
  if (OUT == 0) store_bytes(out, seen);
  end_stream();
}

void stream(const void* x, void* out, int64_t steps, int lines_in, int lines_out) {
  const char* from = (const char*)x;
  char* to = (char*)out;
  switch (lines_in * 16 + lines_out) {
  case 0x80: return stream_run<8, 0>(from, to, steps);
  case 0x81: return stream_run<8, 1>(from, to, steps);
  case 0x41: return stream_run<4, 1>(from, to, steps);
  case 0x21: return stream_run<2, 1>(from, to, steps);
  case 0x11: return stream_run<1, 1>(from, to, steps);
  case 0x12: return stream_run<1, 2>(from, to, steps);
  case 0x14: return stream_run<1, 4>(from, to, steps);
  case 0x18: return stream_run<1, 8>(from, to, steps);
  case 0x01: return stream_run<0, 1>(from, to, steps);
  default: return;
  }
}

// `steps` multiply-accumulates of a logical vector, a multiple of 12; the sum of them all.
template <class Vector, class Step>
BITMILL_INLINE Vector peak_run(int64_t steps, Vector zero, Step step) {
  Vector sums[kAccumulators];
  for (Vector& sum : sums) sum = zero;
  for (int64_t i = 0; i < steps; i += kAccumulators)
    for (Vector& sum : sums) sum = step(sum);
  for (int i = 1; i < kAccumulators; ++i) sums[0] = add(sums[0], sums[i]);
  return sums[0];
}

void peak_fma_f32(int64_t steps, float* out) {
  const f32x16 a = splat(out[0]), b = splat(out[1]);
  store(out, peak_run(steps, splat(0.0f), [&](f32x16 sum) { return add_product(sum, a, b); }));
}

void peak_dot_u8i8(int64_t steps, int32_t* out) {
  const i32x16 a = splat(out[0]), b = splat(out[1]);
  const i32x16 sum =
      peak_run(steps, splat(0), [&](i32x16 so_far) { return add_dot_u8i8(so_far, a, b); });
  store((float*)out, float_of(sum));
}

} // namespace
} // namespace bitmill::BITMILL_ISA
