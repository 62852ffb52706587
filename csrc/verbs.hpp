// SPDX-License-Identifier: MIT
// The verbs that tests call one by one: names, and expressions of i, j (integers), x, y (floats)
// and the 16 lanes at a, b that these are made of.
#pragma once

#define BITMILL_VERBS(VERB)                                                                        \
  VERB(add_f32, add(x, y))                                                                         \
  VERB(sub_f32, sub(x, y))                                                                         \
  VERB(mul_f32, mul(x, y))                                                                         \
  VERB(div_f32, div(x, y))                                                                         \
  VERB(add_product_f32, add_product(x, x, y))                                                      \
  VERB(min_f32, min(x, y))                                                                         \
  VERB(max_f32, max(x, y))                                                                         \
  VERB(to_i32, to_i32(x))                                                                          \
  VERB(add_i32, add(i, j))                                                                         \
  VERB(sub_i32, sub(i, j))                                                                         \
  VERB(mul_i32, mul(i, j))                                                                         \
  VERB(min_i32, min(i, j))                                                                         \
  VERB(max_i32, max(i, j))                                                                         \
  VERB(max_u32, max_u32(i, j))                                                                     \
  VERB(greater_i32, greater(i, j))                                                                 \
  VERB(greater_f32, greater(x, y))                                                                 \
  VERB(equal_i32, equal(i, j))                                                                     \
  VERB(select_i32, select(sign_mask(i), i, j))                                                     \
  VERB(sign_bits, (int32_t)sign_bits(i))                                                           \
  VERB(equal_bits, (int32_t)equal_bits(first_f64(i), first_f64(j)))                                \
  VERB(equal_bits_f32, (int32_t)equal_bits(second_f64(x), second_f64(y)))                          \
  VERB(add_dot_i16, add_dot_i16(i, bytes_of(i), bytes_of(j)))                                      \
  VERB(add_dot_u8i8, add_dot_u8i8(i, splat(0x01010101), j))                                        \
  VERB(quotient, quotient(x, y, div(splat(1.0f), y)))                                              \
  VERB(gather, gather((const float*)b, and_(i, splat(15))))                                        \
  VERB(lookup16, lookup16(y, i))                                                                   \
  VERB(lookup16_u8, lookup16(bytes_of(j), bytes_of(and_(i, splat(0x0f0f0f0f)))))                   \
  VERB(rank16, rank16(thresholds16((const float*)b), x))                                           \
  VERB(code16, code16(codes16((const float*)b, a), x))                                             \
  VERB(and_i32, and_(i, j))                                                                        \
  VERB(xor_i32, xor_(i, j))                                                                        \
  VERB(sign_mask, sign_mask(i))                                                                    \
  VERB(left_i32, left_i32(i, 9))                                                                   \
  VERB(right_i32, right_i32(i, 20))                                                                \
  VERB(left_each, left_each(i, and_(j, splat(31))))                                                \
  VERB(right_each, right_each(i, and_(j, splat(31))))                                              \
  VERB(mul_high, mul_high(i, j, times_2_31(and_(j, splat((1 << 30) - 1)))))                        \
  VERB(mul_high_alone, mul_high(i, j))                                                             \
  VERB(mul_q31, mul_q31(i, j))                                                                     \
  VERB(to_f32, to_f32(i))

namespace bitmill {
#define BITMILL_VERB(name, expression) verb_##name,
enum { BITMILL_VERBS(BITMILL_VERB) };
#undef BITMILL_VERB
} // namespace bitmill
