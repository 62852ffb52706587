// SPDX-License-Identifier: MIT
// Tables of kernels, one per family and ISA, and the plain types that their arguments have.
#pragma once
#include <float.h>
#include <stddef.h>
#include <stdint.h>

static_assert(FLT_EVAL_METHOD == 0,
              "float expressions must be rounded to float, which x87 does not");
static_assert(sizeof(void*) == 8, "sizes are 64-bit");

// Functions of plain types are in the objects of every ISA: as functions of their own, the linker might
// keep one ISA's for all.
#if defined(_MSC_VER)
#define BITMILL_SHARED __forceinline
#else
#define BITMILL_SHARED inline __attribute__((always_inline))
#endif

namespace bitmill {

// Input dtypes, in the order of bitmill._dtypes.FLOATS; the first three can store scales.
enum Float { kF32, kF16, kBF16, kF64, FLOATS };
enum { ONE = 1, HALVES = 3, WIDTHS = 9 };

// Elements as they lie in memory; the vector layer widens them to float32.
struct f16 {
  uint16_t bits;
};
struct bf16 {
  uint16_t bits;
};

// How a range becomes a scale, in the order of bitmill._arguments.RULES.
enum Rule { kAbsmax, kFullRange, kSignedMax, kAsymmetric, kOffset };

// Contiguous values: `rows` rows of `cols`, each cut into groups of `group` (the last may be short).
// `streams` says that the whole output is larger than the caches.
struct Block {
  int64_t rows, cols, group;
  bool streams;
  BITMILL_SHARED int64_t groups() const { return cols == 0 ? 0 : (cols - 1) / group + 1; }
};

// 32-bit words that a row of so many codes takes.
BITMILL_SHARED int64_t words_of(int64_t codes, int bits) { return (codes * bits + 31) / 32; }

struct PackTable;

// The integer grid and what is stored beside it.
struct Quantizer {
  int32_t qmin, qmax;
  Rule rule;
  Float scales;          // dtype of scale and offset
  int32_t bits;          // packed width; 0: unpacked, one byte per code up to 256 codes, else two
  const PackTable* pack; // of the same ISA

  BITMILL_SHARED bool wide() const { return qmax - qmin > 255; }     // two bytes per code
  BITMILL_SHARED bool wide_zero_point() const { return qmax > 255; } // two bytes per zero-point
  BITMILL_SHARED int32_t offset_binary() const { // what a stored field adds to a code
    return bits != 0 && qmin < 0 ? 1 << (bits - 1) : 0;
  }
};

// One entry per group, in the storage dtypes; zero_point and offset may be null.
struct Params {
  void *scale, *zero_point, *offset;
};

// Columns of a matrix: `rows` pieces of `cols` elements, row_step apart.
struct Columns {
  int64_t rows, cols, row_step;
  bool streams;
};

// One entry per column, widened; without an offset, +0.0 to encode and -0.0 to decode, the numbers that
// change nothing. `divides` says that some scale is out of bounds for its reciprocal.
struct ColumnParams {
  const float* scale;
  const float* reciprocal; // to encode
  const int32_t* zero_point;
  const float* offset;
  bool divides;
};

// What sums of products are multiplied by, an entry per column: multiplier * 2^(shift - 31), where multiplier is
// 0 or 2^30 ... 2^31 - 1 and shift -31 ... 30. `twice` says that there are two roundings; `right` that every
// multiplier is above 0, every shift kLeastRight ... kMostRight, and the zero-point of one byte.
struct Multipliers {
  const int32_t *multiplier, *shift;
  int32_t zero_point;
  bool twice, right;
  BITMILL_SHARED Multipliers from(int64_t col) const {
    return {multiplier + col, shift + col, zero_point, twice, right};
  }
};

constexpr int32_t kLeastRight = -21, kMostRight = -2;

// Scales whose reciprocals, and the products with them, neither overflow nor lose bits.
constexpr float kLeastScale = 0x1p-90f, kMostScale = 0x1p90f;

// Scales and offsets as codes of `bits` bits: those of the groups, and where the codes go, and their steps, one
// for so many groups of a row; zero_point and what is about offsets may be null.
struct TwoLevel {
  const float* scale;
  const void* zero_point;
  const float* offset;
  uint8_t* scale_codes; // int8 if is_signed
  void* super_scale;
  uint8_t* offset_codes;
  void* super_offset;
  int64_t super_groups;
  int32_t bits;
  bool is_signed;
};

// A float of a few bits: the sign, an exponent and a mantissa of so many bits each, IEEE's bias. `most` is
// the largest finite value. Codes above that of `most` are infinity, if there is one, and NaN.
struct Minifloat {
  int32_t exponent, mantissa;
  float most;
  bool has_infinity;
  BITMILL_SHARED int32_t bits() const { return 1 + exponent + mantissa; }
};

// Values that codes stand for, as bitmill._lookup.padded makes them: 16, or 256 if `wide`. A range is divided
// by the divisor to give the scale, which is `empty` for zeros.
struct LookupTable {
  const float *values, *thresholds;
  const int32_t* order;
  bool wide;
  float divisor, empty;
};

// Groups that need a word: see bitmill._results.
struct Counts {
  int64_t nonfinite, overflowed, underflowed;
};

// Groups that mse_params fits together, with `room` elements each: as many as the L1 cache holds.
constexpr int kMostTogether = 16;
BITMILL_SHARED int64_t mse_groups(int64_t room) {
  return room > 4096 ? 1 : room < 4096 / kMostTogether ? kMostTogether : 4096 / room;
}

// Sums over at most 4,096 pairs (N9), the largest (x - y)^2, and which pair is the first with it.
struct BlockSums {
  double xx, yy, xy, dd, max_dd;
  int64_t max_at;
};

// `bins` bins, at most 32,767, of width 2^exponent from first * 2^exponent on, in so many copies. A value
// times both factors is the value over the width: one of them alone would overflow for widths below
// 2^-127.
struct BinWindow {
  float factor, factor2;
  int32_t first, bins, copies;
  BITMILL_SHARED int64_t slots() const { return bins + 2; } // one for all below, one for all above
};
constexpr int kMostCopies = 4;
// Keys are integers in the order of the floats: of x, or of |x| where `mask` is without the sign bit;
// the other way round where `flip` is -1.
struct Keys {
  int32_t mask, flip;
};

// The keys that order_statistics keeps.
struct Window {
  Keys keys;
  int32_t lo, hi;
};

// What it has found: keys of the window at `to`, where there is room for so many; how many values it has
// read, how many keys kept, and how many were above the window.
struct Kept {
  int32_t* to;
  int64_t room;
  int64_t read, kept, above;
  bool nonfinite;
};

// Where the clusters of one row of k-means go: k + 1 edges, k centroids, their cost, and which centroid is 0.
struct Clusters {
  int64_t* edges;
  double* centroids;
  double* cost;
  int64_t* zero;
};
constexpr int64_t kFewClusters = 4;
// Whether so many clusters of so many points are found by divide and conquer, or by a penalty. The first takes
// time and memory for every cluster, 16 bits a point.
BITMILL_SHARED bool divides_clusters(int64_t points, int64_t k) {
  return k <= kFewClusters && points <= 65535;
}
// Bytes that one row of n values needs.
BITMILL_SHARED int64_t cluster_bytes(int64_t n, int64_t k, bool pin_zero) {
  const int64_t column = 8 * (n + 32), layers = 2 * k * (n + 2);
  const int64_t base = 6 * column + 64 * (k + 4);
  if (pin_zero) return base + 7 * column + layers;
  const int64_t divided = 2 * column + layers, penalized = 4 * column;
  return base + (k <= kFewClusters && divided > penalized ? divided : penalized);
}
constexpr int64_t kMostClusters = 4096;

// Values whose float32 bits begin alike: how many, and sums of their weights w, of w r and of w r^2, where r is
// what their other bits are as a number. Without weights the last two are whole numbers.
struct Bucket {
  int64_t count;
  double w;
  union {
    double weighted[2];
    uint64_t plain[2];
  };
};

// The different values seen so far, as bits: how often each occurred, and its weight. `size` is one more than
// there is room for where there were too many.
constexpr int64_t kMostDistinct = 65536;
constexpr int kPlaceBits = 18;
constexpr uint32_t kPlaces = uint32_t(1) << kPlaceBits;
struct Distinct {
  uint32_t* places; // 1 + the number of the value that lies there, or 0
  uint32_t* values;
  int64_t* counts;
  double* sums;
  uint32_t size, multiplier;
  int32_t longest; // way from the first place of a value that is looked at
};

// The part of a product of matrices that one call makes: at most kMostRows rows from a multiple of kMostTileRows
// on, and at most kSpan columns from a multiple of it on.
struct Patch {
  int64_t row, rows, col, cols;
};
// A product of matrices, x w^T: rows of x, rows of w, and how long all are.
struct Product {
  int64_t rows, cols, depth;
  BITMILL_SHARED int64_t at(const Patch& p) const { return p.row * cols + p.col; }
  BITMILL_SHARED int64_t fours() const { return (depth + 3) / 4; }
  BITMILL_SHARED int64_t eights() const { return (depth + 7) / 8; }
  BITMILL_SHARED int64_t groups(int64_t group) const { return (depth + group - 1) / group; }
};

constexpr int64_t kMostTileRows = 8, kMostRows = 128;
constexpr int64_t kPanel = 16, kSpan = 3 * kPanel; // rows of w
constexpr int64_t kBlockFours = 256;               // that tiles go over before the next are read
constexpr int64_t kMostBytesOfFour = 8;            // of x, made ready
// What a call needs: room for its sums; then, if it packs w itself, for a block of panels, or, if it makes codes,
// for them.
constexpr int64_t kSumsBytes = kMostRows * kSpan * 4, kPanelsBytes = kBlockFours * 4 * kSpan,
                  kCodesBytes = kMostRows * kSpan;

// What integer sums are made of beside products: the sum of each row of x, made ready; of each row of w its
// zero-point, 128 if null, and what is added, 0 if null.
struct SumTerms {
  const int32_t* x_sum;
  const uint8_t* w_zero_point;
  const int32_t* bias;
};
struct ColumnsTable;

// What makes codes of sums: their limits, the factors of all columns, and the kernels of the same ISA.
struct Requantizer {
  Quantizer q;
  Multipliers m;
  const ColumnsTable* columns;
};

// What makes values of the sums of products: an entry per row of x, made ready, and per row of w; bias may be
// null.
struct Dequantizer {
  const float* x_scale;
  const int32_t *x_zero_point, *x_sum;
  const float* w_scale;
  const uint8_t* w_zero_point;
  const int32_t* w_sum;
  const float* bias;
};

// A product with a Hadamard matrix: rows of `length`, `order` times a power of two. What x is multiplied by first,
// [length], and the signs of the matrix of that order, [order, order].
struct Rotation {
  int64_t length, order;
  const float *factors, *signs;
};
constexpr int64_t kMostOrder = 20;

// Weights of 4 bits in panels of kPanel rows: codes [panels][K / 8][kPanel][4], where the low nibbles are four
// columns and the high ones the next four; of each group, a multiple of 8 columns, scales and perhaps zero-points
// [panels][groups][kPanel]. `values` are what codes stand for: 16 floats, or bytes, with 128 added unless they are
// `plain`, the codes themselves, four times. `zero` is the zero-point where there are none.
constexpr int64_t kEight = 8; // columns that lie together
struct Weights4 {
  const uint8_t* codes;
  const void* scale;
  Float scales;
  const uint8_t* zero_point;
  const void* values;
  bool plain;
  int32_t zero;
  int64_t group;
  const float* bias; // a row each; may be null
};
// Rows of x: `given`, of a kind; the same made ready; what the codes of each group add up to, [rows][groups];
// scale and perhaps zero-point, as int8 codes have it, of each row.
enum Kind4 { kInt8, kUint8, kFloats };
struct Tokens4 {
  const void* given;
  Kind4 kind;
  void* ready;
  int32_t* sums;
  const float* scale;
  const int32_t* zero_point;
};
constexpr int64_t kMostBytesOfEight = 32; // of x, made ready
constexpr int64_t kBlockEights = 128; // of x and w that meet before the next are read, or one group
// Room for the sums of a patch, and for those of the codes of a block of groups.
constexpr int64_t kMemoryCodes = kMostRows * kSpan * 4 + kBlockEights * kPanel * 4;
// Columns whose weights are unpacked to floats at a time, for products with floats. Room for the sums of a patch,
// those of groups that go on, and scales and values of these columns.
constexpr int64_t kBlockColumns = 256;
constexpr int64_t kMemoryFloats =
    (2 * kMostRows + kBlockColumns / kEight + kBlockColumns) * kSpan * 4;

// The families of kernels: name of the table's type, of the table.
#define BITMILL_FAMILIES(FAMILY)                                                                   \
  FAMILY(Ranges, ranges)                                                                           \
  FAMILY(Affine, affine)                                                                           \
  FAMILY(Tokens, tokens)                                                                           \
  FAMILY(Columns, columns)                                                                         \
  FAMILY(Pack, pack)                                                                               \
  FAMILY(Convert, convert)                                                                         \
  FAMILY(Errors, errors)                                                                           \
  FAMILY(Mse, mse)                                                                                 \
  FAMILY(Order, order)                                                                             \
  FAMILY(Kmeans, kmeans)                                                                           \
  FAMILY(Minifloats, minifloats)                                                                   \
  FAMILY(Tables, tables)                                                                           \
  FAMILY(Matmul, matmul)                                                                           \
  FAMILY(Matmul4, matmul4)                                                                         \
  FAMILY(Streams, streams)                                                                         \
  FAMILY(Verbs, verbs)

#define BITMILL_MEMBER(variants, name, arguments) void(*name[variants]) arguments;
struct RangesTable {
#define RANGES BITMILL_MEMBER
#include "kernels.def"
};
struct AffineTable {
#define AFFINE BITMILL_MEMBER
#include "kernels.def"
};
struct TokensTable {
#define TOKENS BITMILL_MEMBER
#include "kernels.def"
};
struct ColumnsTable {
#define COLUMNS BITMILL_MEMBER
#include "kernels.def"
};
struct PackTable {
#define PACK BITMILL_MEMBER
#define PACKING BITMILL_MEMBER
#include "kernels.def"
};
struct ConvertTable {
#define CONVERT BITMILL_MEMBER
#include "kernels.def"
};
struct ErrorsTable {
#define ERRORS BITMILL_MEMBER
#include "kernels.def"
};
struct MseTable {
#define MSE BITMILL_MEMBER
#include "kernels.def"
};
struct OrderTable {
#define ORDER BITMILL_MEMBER
#include "kernels.def"
};
struct KmeansTable {
#define KMEANS BITMILL_MEMBER
#include "kernels.def"
};
struct MinifloatsTable {
#define MINIFLOATS BITMILL_MEMBER
#include "kernels.def"
};
struct TablesTable {
#define TABLES BITMILL_MEMBER
#include "kernels.def"
};
struct MatmulTable {
#define MATMUL BITMILL_MEMBER
#define MATMULPART BITMILL_MEMBER
#include "kernels.def"
};
struct Matmul4Table {
#define MATMUL4 BITMILL_MEMBER
#define MATMUL4PART BITMILL_MEMBER
#include "kernels.def"
};
struct StreamsTable {
#define STREAMS BITMILL_MEMBER
#include "kernels.def"
};
struct VerbsTable {
#define VERBS BITMILL_MEMBER
#include "kernels.def"
};
#undef BITMILL_MEMBER

// The kernels of one ISA.
struct Kernels {
#define BITMILL_POINTER(Type, name) const Type##Table* name;
  BITMILL_FAMILIES(BITMILL_POINTER)
#undef BITMILL_POINTER
};

// The tables of one ISA; its objects define them, and nothing else of theirs is visible.
#define BITMILL_TABLE(Type, name) extern const Type##Table name##_table;
#define BITMILL_DECLARE_TABLES(isa)                                                                \
  namespace isa {                                                                                  \
  BITMILL_FAMILIES(BITMILL_TABLE)                                                                  \
  }

} // namespace bitmill
