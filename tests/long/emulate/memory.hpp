// SPDX-License-Identifier: MIT
// Loads and stores. A masked one touches the bytes of its lanes and no others.
#pragma once

namespace {
namespace emulated {

template <class V> EMULATED V load(const void* p) {
  V v;
  memcpy(&v, p, sizeof v);
  return v;
}
template <class V> EMULATED void store(void* p, V v) { memcpy(p, &v, sizeof v); }

// An aligned access faults at any other address.
template <class V> EMULATED const void* aligned(const void* p) {
  if ((uintptr_t)p % sizeof(V) != 0) __builtin_trap();
  return p;
}

template <class T, class V> EMULATED V load(V src, uint64_t k, const void* p) {
  auto r = lanes<T>(src);
  constexpr int kCount = (int)(sizeof(V) / sizeof(T));
  for (int i = 0; i < kCount; ++i)
    if (on(k, i)) memcpy(&r.at[i], (const char*)p + (size_t)i * sizeof(T), sizeof(T));
  return vector<V>(r);
}
template <class T, class V> EMULATED void store(void* p, uint64_t k, V v) {
  const auto r = lanes<T>(v);
  constexpr int kCount = (int)(sizeof(V) / sizeof(T));
  for (int i = 0; i < kCount; ++i)
    if (on(k, i)) memcpy((char*)p + (size_t)i * sizeof(T), &r.at[i], sizeof(T));
}

} // namespace emulated
} // namespace

#define EMULATE_ACCESS(p, V, T, suffix)                                                            \
  EMULATED V p##_maskz_loadu_##suffix(emulated::Mask<V, T> k, const void* at) {                    \
    return emulated::load<T>(emulated::zero<V>(), k, at);                                          \
  }                                                                                                \
  EMULATED V p##_mask_loadu_##suffix(V src, emulated::Mask<V, T> k, const void* at) {              \
    return emulated::load<T>(src, k, at);                                                          \
  }                                                                                                \
  EMULATED void p##_mask_storeu_##suffix(void* at, emulated::Mask<V, T> k, V v) {                  \
    emulated::store<T>(at, k, v);                                                                  \
  }
#define EMULATE_ALIGNED_ACCESS(p, V, T, suffix)                                                    \
  EMULATED V p##_maskz_load_##suffix(emulated::Mask<V, T> k, const void* at) {                     \
    return emulated::load<T>(emulated::zero<V>(), k, emulated::aligned<V>(at));                    \
  }                                                                                                \
  EMULATED V p##_mask_load_##suffix(V src, emulated::Mask<V, T> k, const void* at) {               \
    return emulated::load<T>(src, k, emulated::aligned<V>(at));                                    \
  }                                                                                                \
  EMULATED void p##_mask_store_##suffix(void* at, emulated::Mask<V, T> k, V v) {                   \
    emulated::store<T>((void*)emulated::aligned<V>(at), k, v);                                     \
  }
EMULATE_WIDTHS(EMULATE_ACCESS, uint8_t, epi8)
EMULATE_WIDTHS(EMULATE_ACCESS, uint16_t, epi16)
EMULATE_WIDTHS(EMULATE_ACCESS, uint32_t, epi32)
EMULATE_WIDTHS(EMULATE_ACCESS, uint64_t, epi64)
EMULATE_WIDTHS(EMULATE_ALIGNED_ACCESS, uint32_t, epi32)
EMULATE_WIDTHS(EMULATE_ALIGNED_ACCESS, uint64_t, epi64)
#define EMULATE_FLOAT_ACCESS(X)                                                                    \
  X(_mm512, __m512, uint32_t, ps)                                                                  \
  X(_mm256, __m256, uint32_t, ps)                                                                  \
  X(_mm, __m128, uint32_t, ps)                                                                     \
  X(_mm512, __m512d, uint64_t, pd)                                                                 \
  X(_mm256, __m256d, uint64_t, pd)                                                                 \
  X(_mm, __m128d, uint64_t, pd)
EMULATE_FLOAT_ACCESS(EMULATE_ACCESS)
EMULATE_FLOAT_ACCESS(EMULATE_ALIGNED_ACCESS)
#undef EMULATE_FLOAT_ACCESS
#undef EMULATE_ALIGNED_ACCESS
#undef EMULATE_ACCESS

#define EMULATE_UNALIGNED(p, V, suffix)                                                            \
  EMULATED V p##_loadu_##suffix(const void* at) { return emulated::load<V>(at); }                  \
  EMULATED void p##_storeu_##suffix(void* at, V v) { emulated::store(at, v); }
EMULATE_UNALIGNED(_mm512, __m512i, si512)
EMULATE_UNALIGNED(_mm512, __m512, ps)
EMULATE_UNALIGNED(_mm512, __m512d, pd)
EMULATE_WIDTHS(EMULATE_UNALIGNED, epi8)
EMULATE_WIDTHS(EMULATE_UNALIGNED, epi16)
EMULATE_WIDTHS(EMULATE_UNALIGNED, epi32)
EMULATE_WIDTHS(EMULATE_UNALIGNED, epi64)
#undef EMULATE_UNALIGNED

#define EMULATE_ALIGNED(V, suffix)                                                                 \
  EMULATED V _mm512_load_##suffix(const void* at) {                                                \
    return emulated::load<V>(emulated::aligned<V>(at));                                            \
  }                                                                                                \
  EMULATED void _mm512_store_##suffix(void* at, V v) {                                             \
    emulated::store((void*)emulated::aligned<V>(at), v);                                           \
  }
EMULATE_ALIGNED(__m512i, si512)
EMULATE_ALIGNED(__m512i, epi32)
EMULATE_ALIGNED(__m512i, epi64)
EMULATE_ALIGNED(__m512, ps)
EMULATE_ALIGNED(__m512d, pd)
#undef EMULATE_ALIGNED
EMULATED void _mm512_stream_si512(void* at, __m512i v) { _mm512_store_si512(at, v); }
EMULATED void _mm512_stream_ps(void* at, __m512 v) { _mm512_store_ps(at, v); }
EMULATED void _mm512_stream_pd(void* at, __m512d v) { _mm512_store_pd(at, v); }
EMULATED __m512i _mm512_stream_load_si512(const void* at) { return _mm512_load_si512(at); }

// Active lanes side by side in memory, and back.
#define EMULATE_COMPRESS(V, T, suffix)                                                             \
  EMULATED void _mm512_mask_compressstoreu_##suffix(void* at, emulated::Mask<V, T> k, V v) {       \
    const auto r = emulated::lanes<T>(v);                                                          \
    int next = 0;                                                                                  \
    for (int i = 0; i < (int)(64 / sizeof(T)); ++i)                                                \
      if (emulated::on(k, i)) memcpy((T*)at + next++, &r.at[i], sizeof(T));                        \
  }                                                                                                \
  EMULATED V _mm512_mask_compress_##suffix(V src, emulated::Mask<V, T> k, V v) {                   \
    _mm512_mask_compressstoreu_##suffix(&src, k, v);                                               \
    return src;                                                                                    \
  }                                                                                                \
  EMULATED V _mm512_maskz_compress_##suffix(emulated::Mask<V, T> k, V v) {                         \
    return _mm512_mask_compress_##suffix(emulated::zero<V>(), k, v);                               \
  }                                                                                                \
  EMULATED V _mm512_mask_expandloadu_##suffix(V src, emulated::Mask<V, T> k, const void* at) {     \
    auto r = emulated::lanes<T>(src);                                                              \
    int next = 0;                                                                                  \
    for (int i = 0; i < (int)(64 / sizeof(T)); ++i)                                                \
      if (emulated::on(k, i)) memcpy(&r.at[i], (const T*)at + next++, sizeof(T));                  \
    return emulated::vector<V>(r);                                                                 \
  }                                                                                                \
  EMULATED V _mm512_maskz_expandloadu_##suffix(emulated::Mask<V, T> k, const void* at) {           \
    return _mm512_mask_expandloadu_##suffix(emulated::zero<V>(), k, at);                           \
  }                                                                                                \
  EMULATED V _mm512_maskz_expand_##suffix(emulated::Mask<V, T> k, V v) {                           \
    return _mm512_maskz_expandloadu_##suffix(k, &v);                                               \
  }
EMULATE_COMPRESS(__m512i, uint32_t, epi32)
EMULATE_COMPRESS(__m512i, uint64_t, epi64)
EMULATE_COMPRESS(__m512, uint32_t, ps)
EMULATE_COMPRESS(__m512d, uint64_t, pd)
#undef EMULATE_COMPRESS

#define EMULATE_GATHER(V, T, suffix)                                                               \
  EMULATED V _mm512_mask_i32gather_##suffix(V src, __mmask16 k, __m512i index, const void* base,   \
                                            int scale) {                                           \
    auto r = emulated::lanes<T>(src);                                                              \
    const auto at = emulated::lanes<int32_t>(index);                                               \
    for (int i = 0; i < 16; ++i)                                                                   \
      if (emulated::on(k, i))                                                                      \
        memcpy(&r.at[i], (const char*)base + (int64_t)at.at[i] * scale, sizeof(T));                \
    return emulated::vector<V>(r);                                                                 \
  }                                                                                                \
  EMULATED V _mm512_i32gather_##suffix(__m512i index, const void* base, int scale) {               \
    return _mm512_mask_i32gather_##suffix(emulated::zero<V>(), 0xffff, index, base, scale);        \
  }                                                                                                \
  EMULATED void _mm512_mask_i32scatter_##suffix(void* base, __mmask16 k, __m512i index, V v,       \
                                                int scale) {                                       \
    const auto r = emulated::lanes<T>(v);                                                          \
    const auto at = emulated::lanes<int32_t>(index);                                               \
    for (int i = 0; i < 16; ++i)                                                                   \
      if (emulated::on(k, i))                                                                      \
        memcpy((char*)base + (int64_t)at.at[i] * scale, &r.at[i], sizeof(T));                      \
  }
EMULATE_GATHER(__m512i, uint32_t, epi32)
EMULATE_GATHER(__m512, uint32_t, ps)
#undef EMULATE_GATHER
