// SPDX-License-Identifier: MIT
// Where codes go and come from: as they are, or through a small buffer and the packer. A run may end
// anywhere; the buffer is packed in steps of 64 codes, which fill whole words at any width.
#pragma once
#include "lines.hpp"
#include "look.hpp"

namespace bitmill::BITMILL_ISA {
namespace {

using PackRow = void (*)(const uint8_t* codes, int64_t count, void* lines);
using UnpackRow = void (*)(const uint32_t* words, int64_t count, uint8_t* codes);

// Codes of one byte, as they are or on their way into words: one class for both, so that whoever makes
// codes is compiled once.
class ByteCodes {
 public:
  using Code = uint8_t;

  BITMILL_INLINE ByteCodes(const Quantizer& q, void* codes, bool streams)
      : ByteCodes(q.bits ? q.pack->pack_row[q.bits] : nullptr, codes, streams) {}
  // `packer` is null for codes as they are.
  BITMILL_INLINE ByteCodes(PackRow packer, void* codes, bool streams)
      : lines_(codes, streams), pack_(packer) {}
  // Where the next codes go, at most kChunk; give() says how many there were.
  BITMILL_INLINE uint8_t* room() { return pack_ ? buffer_ + held_ : (uint8_t*)lines_.room(); }
  BITMILL_INLINE void give(int64_t n) {
    if (!pack_) return lines_.advance(n);
    held_ += n;
    const int64_t whole = held_ & -64;
    if (whole == 0) return;
    pack(whole);
    held_ -= whole;
    if (held_) memcpy(buffer_, buffer_ + whole, 64);
  }
  // Whether the next n codes are whole lines that may be streamed straight to line(); pass() is told.
  BITMILL_INLINE bool straight(int64_t n) const { return !pack_ && lines_.straight(n) == n; }
  BITMILL_INLINE uint8_t* line() const { return (uint8_t*)lines_.next(); }
  BITMILL_INLINE void pass(int64_t n) { lines_.pass(n); }
  BITMILL_INLINE void end_row() {
    if (held_) pack(held_);
    held_ = 0;
  }
  BITMILL_INLINE void finish() { lines_.finish(); }

 private:
  BITMILL_INLINE void pack(int64_t n) { pack_(buffer_, n, &lines_); }

  Lines lines_;
  PackRow pack_;
  int64_t held_ = 0; // codes that fill no 64 yet
  alignas(64) uint8_t buffer_[kChunk + 128];
};

// Codes of two bytes, which are never packed.
class WideCodes {
 public:
  using Code = uint16_t;

  BITMILL_INLINE WideCodes(const Quantizer&, void* codes, bool streams) : lines_(codes, streams) {}
  BITMILL_INLINE uint16_t* room() { return (uint16_t*)lines_.room(); }
  BITMILL_INLINE void give(int64_t n) { lines_.advance(2 * n); }
  BITMILL_INLINE void end_row() {}
  BITMILL_INLINE void finish() { lines_.finish(); }

 private:
  Lines lines_;
};

// Codes to be read, of one or two bytes.
template <class Code> class GivenCodes {
 public:
  BITMILL_INLINE GivenCodes(const Quantizer&, const void* codes, int64_t) : GivenCodes(codes) {}
  BITMILL_INLINE explicit GivenCodes(const void* codes) : at_((const Code*)codes) {}
  BITMILL_INLINE void start_row() {}
  // The next codes, at most n of them; advance() says how many were taken.
  BITMILL_INLINE const Code* next(int64_t*) const { return at_; }
  BITMILL_INLINE void advance(int64_t n) {
    prefetch_ahead(at_, n * (int64_t)sizeof(Code));
    at_ += n;
  }

 private:
  const Code* at_;
};

// Unsigned codes of one byte, or out of words.
class GivenBytes {
 public:
  BITMILL_INLINE GivenBytes(const Quantizer& q, const void* codes, int64_t cols)
      : GivenBytes(q.bits ? q.pack->unpack_row[q.bits] : nullptr, q.bits, codes, cols) {}
  // `unpack` is null for codes as they are.
  BITMILL_INLINE GivenBytes(UnpackRow unpack, int bits, const void* codes, int64_t cols)
      : given_(codes), words_((const uint32_t*)codes), unpack_(unpack), bits_(bits), cols_(cols) {}
  BITMILL_INLINE void start_row() { row_left_ = cols_; }
  BITMILL_INLINE const uint8_t* next(int64_t* n) {
    if (!unpack_) return given_.next(n);
    if (at_ == held_) refill();
    *n = least(*n, held_ - at_);
    return buffer_ + at_;
  }
  BITMILL_INLINE void advance(int64_t n) {
    if (!unpack_) return given_.advance(n);
    at_ += n;
  }

 private:
  void refill() {
    held_ = least(row_left_, kChunk);
    row_left_ -= held_;
    at_ = 0;
    unpack_(words_, held_, buffer_);
    words_ += words_of(held_, bits_);
  }

  GivenCodes<uint8_t> given_;
  const uint32_t* words_;
  UnpackRow unpack_;
  int bits_;
  int64_t cols_, row_left_ = 0, held_ = 0, at_ = 0;
  alignas(64) uint8_t buffer_[kChunk];
};

} // namespace
} // namespace bitmill::BITMILL_ISA
