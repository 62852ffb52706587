// SPDX-License-Identifier: MIT
// Affine quantization with parameters per column: the arithmetic of steps.hpp with a vector of
// each. Twins: bitmill.reference.column_encode, column_decode.
#pragma once
#include "lines.hpp"
#include "steps.hpp"

namespace bitmill::BITMILL_ISA {
namespace {

// Rows that share the loads of parameters.
constexpr int kRows = 4;

// visit(first row, number of rows) for all rows, kRows at a time. Meanwhile the same columns of the next
// kRows are asked for: spans of columns are too short to look ahead along the row.
template <class Visit> BITMILL_INLINE void each_rows(int64_t rows, Visit visit) {
  for (int64_t row = 0; row < rows; row += kRows) visit(row, least(rows - row, kRows));
}

// Outputs of kRows rows, side by side.
template <class T> struct RowLines {
  Lines lines[kRows];
  T* to[kRows];

  BITMILL_INLINE RowLines(T* out, int64_t row_step, bool streams)
      : lines{Lines(out, streams), Lines(out + row_step, streams),
              Lines(out + 2 * row_step, streams), Lines(out + 3 * row_step, streams)} {}
  // One piece of columns of `rows` rows, of at most Lines::kRoom bytes: body writes to to[row]. If it is
  // straight, body may stream it; `past` says that it does.
  template <class Body>
  BITMILL_INLINE void piece(int64_t rows, int64_t cols, bool past, Body body) {
    const int64_t bytes = cols * (int64_t)sizeof(T);
    for (int64_t r = 0; r < rows; ++r) to[r] = (T*)(past ? lines[r].next() : lines[r].room());
    body();
    for (int64_t r = 0; r < rows; ++r)
      if (past)
        lines[r].pass(bytes);
      else
        lines[r].advance(bytes);
  }
  // Whether the next piece is whole lines in every row.
  BITMILL_INLINE bool straight(int64_t rows, int64_t cols) const {
    const int64_t bytes = cols * (int64_t)sizeof(T);
    for (int64_t r = 0; r < rows; ++r)
      if (lines[r].straight(bytes) != bytes) return false;
    return true;
  }
  BITMILL_INLINE void finish(int64_t rows) {
    for (int64_t r = 0; r < rows; ++r) lines[r].finish();
  }
};

template <class Lanes>
BITMILL_INLINE Steps steps_at(const Quantizer& q, ColumnParams p, int64_t i, Lanes lanes) {
  return {load(p.scale + i, lanes), load(p.reciprocal + i, lanes), load(p.offset + i, lanes),
          sub(load_i32(p.zero_point + i, lanes), splat(q.qmin))};
}

// Rounded quotients of 16 columns, and what is added to them before they are limited and stored; rest() gives those
// of rows or columns that fill no block.
template <class Encode> struct ColumnEncoder {
  Encode encode;
  i32x16 shift;

  template <class T, class Lanes> BITMILL_INLINE i32x16 operator()(const T* x, Lanes lanes) const {
    return encode(load(x, lanes));
  }
  template <class T, class Lanes> BITMILL_INLINE i32x16 rest(const T* x, Lanes lanes) const {
    return (*this)(x, lanes);
  }
};

// 16 columns of kRows rows at once.
template <class Encoder, class T>
BITMILL_INLINE void encode_block(const T* x, int64_t row_step, const Encoder& encode,
                                 const Stored& stored, uint8_t* const* to, int64_t i) {
  const auto shifted = [&](int64_t row) {
    prefetch_far(x + (row + kRows) * row_step);
    return add(encode(x + row * row_step, Whole()), encode.shift);
  };
  const u8x64 none = splat_u8(0);
  const u8x64 codes = narrow<float>(shifted(0), shifted(1), none, shifted(2), shifted(3), none);
  store_quarters(to[0] + i, to[1] + i, to[2] + i, to[3] + i, stored.bytes(codes));
}

// No way of its own with whole lines.
struct NoLines {
  static constexpr bool any = false;
  template <class T, class Code>
  BITMILL_INLINE int64_t operator()(const T*, int64_t, int64_t, Code* const*, bool) const {
    return 0;
  }
};

// encoder_at(i, lanes) is the encoder of the columns from i on. With lines.any, lines(x, i, n, to, past) encodes, of n
// columns of kRows rows, those that are whole lines of codes, and says how many; with `past`, it streams them.
template <class T, class Code, class EncoderAt, class EncodeLines>
BITMILL_INLINE void encode_columns_by(const T* x, const Columns& c, const Stored& stored,
                                      Code* codes, const EncoderAt& encoder_at,
                                      const EncodeLines& lines) {
  constexpr int64_t kPiece = Lines::kStep / (int64_t)sizeof(Code);
  each_rows(c.rows, [&](int64_t row, int64_t rows) {
    const T* from = x + row * c.row_step;
    RowLines<Code> out(codes + row * c.row_step, c.row_step, c.streams);
    for (int64_t col = 0; col < c.cols; col += kPiece) {
      const int64_t n = least(c.cols - col, kPiece);
      const bool past = lines.any && rows == kRows && out.straight(rows, n);
      out.piece(rows, n, past, [&] {
        int64_t i = lines.any && rows == kRows ? lines(from + col, col, n, out.to, past) : 0;
        if constexpr (sizeof(Code) == 1)
          for (; rows == kRows && i + 16 <= n; i += 16)
            encode_block(from + col + i, c.row_step, encoder_at(col + i, Whole()), stored, out.to,
                         i);
        each_vector(n - i, [&](int64_t k, auto lanes) {
          const auto encode = encoder_at(col + i + k, lanes);
          for (int64_t r = 0; r < rows; ++r) {
            const i32x16 quotients = encode.rest(from + r * c.row_step + col + i + k, lanes);
            store_code(out.to[r] + i + k, stored.lanes(quotients, encode.shift), lanes);
          }
        });
      });
    }
    out.finish(rows);
  });
  end_stream();
}

template <class Encode, class T, class Code>
BITMILL_INLINE void encode_columns(const Quantizer& q, const T* x, const Columns& c,
                                   ColumnParams given, Code* codes) {
  const Stored stored(q);
  const auto encoder_at = [&](int64_t i, auto lanes) {
    const Steps steps = steps_at(q, given, i, lanes);
    return ColumnEncoder<Encode>{Encode(steps, stored.top), steps.shift};
  };
  encode_columns_by(x, c, stored, codes, encoder_at, NoLines());
}

// For scales without reciprocals, and codes of two bytes.
template <class T, class Code>
BITMILL_SELDOM void divide_columns(const Quantizer& q, const T* x, const Columns& c,
                                   ColumnParams given, Code* codes) {
  encode_columns<DividingEncoder>(q, x, c, given, codes);
}

template <class T>
void column_encode(const Quantizer* q, const void* x_, Columns c, ColumnParams given, void* codes) {
  const T* x = (const T*)x_;
  if (q->wide())
    divide_columns(*q, x, c, given, (uint16_t*)codes);
  else if (given.divides)
    divide_columns(*q, x, c, given, (uint8_t*)codes);
  else
    encode_columns<LimitedEncoder>(*q, x, c, given, (uint8_t*)codes);
}

// Signed codes are read as unsigned ones: flipping the sign bit adds half their number, which goes off
// again with the zero-point. One body serves both.
template <class Lanes>
BITMILL_INLINE Decoder decoder_at(const Quantizer& q, ColumnParams given, i32x16 flip, int64_t i,
                                  Lanes lanes) {
  return Decoder(q, load(given.scale + i, lanes), add(load_i32(given.zero_point + i, lanes), flip),
                 load(given.offset + i, lanes));
}

template <class T, class Code>
void decode_columns(const Quantizer& q, const Code* codes, const Columns& c, ColumnParams given,
                    T* to) {
  constexpr int64_t kPiece = Lines::kStep / (int64_t)sizeof(T);
  const i32x16 flip = splat(q.qmin < 0 ? 1 << (8 * sizeof(Code) - 1) : 0);
  each_rows(c.rows, [&](int64_t row, int64_t rows) {
    const Code* from = codes + row * c.row_step;
    RowLines<T> out(to + row * c.row_step, c.row_step, c.streams);
    for (int64_t col = 0; col < c.cols; col += kPiece) {
      const int64_t n = least(c.cols - col, kPiece);
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t i = 0; i < n; i += 64 / (int64_t)sizeof(Code))
          prefetch_far(from + (r + kRows) * c.row_step + col + i);
      const auto decoded = [&](int64_t r, int64_t i, const Decoder& decode, auto lanes) {
        return decode(xor_(load_code(from + r * c.row_step + col + i, lanes), flip));
      };
      if constexpr (sizeof(T) == 4) // a vector is a line
        if (out.straight(rows, n)) {
          out.piece(rows, n, true, [&] {
            // Row by row: memory likes long bursts, and the parameters are in L1.
            for (int64_t r = 0; r < rows; ++r)
              for (int64_t i = 0; i < n; i += 16) {
                const Decoder decode = decoder_at(q, given, flip, col + i, Whole());
                stream_bytes(out.to[r] + i, bytes_of(decoded(r, i, decode, Whole())));
              }
          });
          continue;
        }
      out.piece(rows, n, false, [&] {
        each_vector(n, [&](int64_t i, auto lanes) {
          const Decoder decode = decoder_at(q, given, flip, col + i, lanes);
          for (int64_t r = 0; r < rows; ++r)
            store(out.to[r] + i, decoded(r, i, decode, lanes), lanes);
        });
      });
    }
    out.finish(rows);
  });
  end_stream();
}

template <class T>
void column_decode(const Quantizer* q, const void* codes, Columns c, ColumnParams given,
                   void* out) {
  T* to = (T*)out;
  if (q->wide())
    decode_columns(*q, (const uint16_t*)codes, c, given, to);
  else
    decode_columns(*q, (const uint8_t*)codes, c, given, to);
}

} // namespace
} // namespace bitmill::BITMILL_ISA
