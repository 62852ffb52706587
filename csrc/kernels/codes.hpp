// SPDX-License-Identifier: MIT
// Where codes go and come from: straight to an array, or through a small buffer and the packer. A
// run may end anywhere; the buffer is packed in steps of 64 codes, which fill whole words at any
// width.
#pragma once
#include "pack.hpp"
#include "steps.hpp"

namespace bitmill::BITMILL_ISA {
namespace {

constexpr int64_t kHeld = 2048; // codes in the buffer: 2 KiB, beside 8 KiB of float32 input in L1

// Codes of one or two bytes, as they are.
template <class Code> struct PlainCodes {
  Code* at;

  BITMILL_INLINE PlainCodes(const Quantizer&, void* codes, const Block&) : at((Code*)codes) {}
  // Room for the next codes, at most n of them; advance() says how many were taken.
  BITMILL_INLINE Code* room(int64_t* n) const { return (void)n, at; }
  BITMILL_INLINE void advance(int64_t n) { at += n; }
  BITMILL_INLINE void start_row() {}
  BITMILL_INLINE void end_row() {}
};

// One-byte codes on their way into words.
struct PackedCodes {
  uint32_t* words;
  PackRun pack;
  int bits;
  int64_t held = 0;
  alignas(64) uint8_t buffer[kHeld];

  BITMILL_INLINE PackedCodes(const Quantizer& q, void* codes, const Block&)
      : words((uint32_t*)codes), pack(pack_run_of(q.bits)), bits(q.bits) {}
  BITMILL_INLINE uint8_t* room(int64_t* n) {
    if (*n > kHeld - held) *n = kHeld - held;
    return buffer + held;
  }
  BITMILL_INLINE void advance(int64_t n) {
    held += n;
    if (held == kHeld) flush();
  }
  BITMILL_INLINE void end_row() {
    if (held) flush();
  }
  void flush() {
    pack(buffer, held, words);
    words += words_of(held, bits);
    held = 0;
  }
};

// The reverse: one-byte codes out of words.
struct UnpackedCodes {
  const uint32_t* words;
  UnpackRun unpack;
  int bits;
  int64_t cols, row_left = 0, held = 0, at = 0;
  alignas(64) uint8_t buffer[kHeld];

  BITMILL_INLINE UnpackedCodes(const Quantizer& q, void* codes, const Block& block)
      : words((const uint32_t*)codes), unpack(unpack_run_of(q.bits)), bits(q.bits),
        cols(block.cols) {}
  BITMILL_INLINE void start_row() { row_left = cols; }
  BITMILL_INLINE const uint8_t* room(int64_t* n) {
    if (at == held) refill();
    if (*n > held - at) *n = held - at;
    return buffer + at;
  }
  BITMILL_INLINE void advance(int64_t n) { at += n; }
  void refill() {
    held = row_left < kHeld ? row_left : kHeld;
    row_left -= held;
    at = 0;
    unpack(words, held, buffer);
    words += words_of(held, bits);
  }
};

} // namespace
} // namespace bitmill::BITMILL_ISA
