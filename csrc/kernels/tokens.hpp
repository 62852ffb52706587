// SPDX-License-Identifier: MIT
// Activations to codes of one byte, a row a token, with the sum of each row's codes, which integer products
// need for zero-points. Twins: bitmill.reference.token_quantize, token_encode.
#pragma once
#include "codes.hpp"
#include "encode.hpp"

namespace bitmill::BITMILL_ISA {
namespace {

// Codes as they are, by way of the L1 cache, where they are added up.
class SummedCodes : public ByteCodes {
 public:
  BITMILL_INLINE SummedCodes(const Quantizer& q, void* codes, bool streams, int32_t* sums)
      : ByteCodes(nullptr, codes, streams), signed_(q.qmin < 0), sums_(sums) {}
  BITMILL_INLINE void give(int64_t n) {
    const uint8_t* codes = room();
    const i32x16 ones = splat(0x01010101);
    int64_t i = 0;
    for (; i + 64 <= n; i += 64) {
      const i32x16 bytes = load_i32((const int32_t*)(codes + i));
      sum_ = signed_ ? add_dot_u8i8(sum_, ones, bytes) : add_dot_u8i8(sum_, bytes, ones);
    }
    for (; i < n; ++i) rest_ += signed_ ? (int8_t)codes[i] : codes[i];
    ByteCodes::give(n);
  }
  BITMILL_INLINE void end_row() {
    int32_t lanes[16], sum = rest_;
    store((float*)lanes, float_of(sum_));
    for (int32_t lane : lanes) sum += lane;
    *sums_++ = sum;
    sum_ = splat(0), rest_ = 0;
  }

 private:
  bool signed_;
  int32_t rest_ = 0;
  i32x16 sum_ = splat(0);
  int32_t* sums_;
};

// A row, whose parameters are the first of `groups`, while meanwhile(i, n) does something else with as many
// values of another one, so that memory is read all the time.
template <class Encode, class Meanwhile>
BITMILL_INLINE void encode_row(const float* x, int64_t n, const Groups& groups,
                               const Stored& stored, SummedCodes& codes, Ahead<float> ahead,
                               const Meanwhile& meanwhile) {
  for (int64_t done = 0; done < n; done += kChunk) {
    const int64_t part = least(n - done, kChunk);
    const Put<uint8_t> to{codes.room(), false};
    for (int64_t i = 0; i < part; i += kPart) {
      const int64_t few = least(part - i, kPart);
      const float* from = x + done + i;
      if (groups.divides)
        divide_groups(from, few, few, groups, 0, stored, to + i, ahead);
      else
        encode_span<Encode>(from, few, groups, 0, stored, to + i, ahead);
      meanwhile(done + i, few);
    }
    codes.give(part);
  }
  codes.end_row();
}

// The rules are kAbsmax, whose codes are int8, and kAsymmetric, whose are uint8.
void token_quantize(const Quantizer* q, const float* x, Block block, Params out, void* codes,
                    int32_t* sums, Counts* counts) {
  using Seen = MinMax<float, false>;
  const Stored stored(*q);
  SummedCodes taker(*q, codes, block.streams, sums);
  Groups groups;
  Found<Seen> found;
  Seen seen = seen_in<Seen>(x, block.cols);
  for (int64_t row = 0; row < block.rows; ++row, x += block.cols) {
    found.set(0, seen);
    fit_groups(*q, found, 1, out, row, groups, counts);
    seen = Seen();
    const float* next =
        row + 1 < block.rows ? x + block.cols : x; // behind the last one nothing is read
    encode_row<FittedEncoder>(
        x, block.cols, groups, stored, taker, far_ahead(next), [&](int64_t i, int64_t n) {
          seen.merge(n == kPart ? seen_all<Seen, kPart>(next + i) : seen_in<Seen>(next + i, n));
        });
  }
  taker.finish();
  end_stream();
}

void token_encode(const Quantizer* q, const float* x, Block block, Params given, void* codes,
                  int32_t* sums) {
  const Stored stored(*q);
  SummedCodes taker(*q, codes, block.streams, sums);
  Groups groups;
  for (int64_t row = 0; row < block.rows; ++row, x += block.cols) {
    load_groups(*q, given, row, 1, groups);
    encode_row<LimitedEncoder>(x, block.cols, groups, stored, taker, near_ahead(x),
                               [](int64_t, int64_t) {});
  }
  taker.finish();
  end_stream();
}

} // namespace
} // namespace bitmill::BITMILL_ISA
