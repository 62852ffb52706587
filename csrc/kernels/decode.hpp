// SPDX-License-Identifier: MIT
// Codes of groups along rows to values.
#pragma once
#include "lines.hpp"
#include "steps.hpp"

namespace bitmill::BITMILL_ISA {
namespace {

// n codes of one group, at most Lines::kStep bytes of values.
template <class T, class Code, class Decode>
BITMILL_INLINE void decode_span(const Code* codes, int64_t n, const Decode& decode, Lines& lines) {
  if constexpr (kRegisters) {
    constexpr int64_t kSize = sizeof(T);
    const int64_t whole = lines.straight(kSize * n) / kSize;
    for (int64_t i = 0; i < whole; i += 64 / kSize)
      lines.line(kSize * i,
                 line_of<T>([&](int64_t k) { return decode(load_code(codes + i + k, Whole())); }));
    lines.pass(kSize * whole);
    codes += whole, n -= whole;
    if (n == 0) return;
  }
  T* out = (T*)lines.room();
  each_vector(n, [&](int64_t i, auto lanes) {
    store(out + i, decode(load_code(codes + i, lanes)), lanes);
  });
  lines.advance(n * (int64_t)sizeof(T));
}

// decoder(i) turns the codes of group i into values, 16 at a time.
template <class Given, class T, class DecoderOf>
BITMILL_INLINE void decode_rows(Given& codes, const Block& block, T* to, DecoderOf decoder) {
  Lines lines(to, block.streams);
  int64_t at = 0;
  for (int64_t row = 0; row < block.rows; ++row) {
    codes.start_row();
    for (int64_t left = block.cols; left > 0; ++at) {
      const auto decode = decoder(at);
      for (int64_t rest = least(left, block.group); rest > 0;) {
        int64_t n = least(rest, Lines::kStep / (int64_t)sizeof(T));
        const auto* from = codes.next(&n);
        decode_span<T>(from, n, decode, lines);
        codes.advance(n);
        rest -= n, left -= n;
      }
    }
  }
  lines.finish();
  end_stream();
}

} // namespace
} // namespace bitmill::BITMILL_ISA
