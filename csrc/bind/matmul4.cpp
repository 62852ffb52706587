// SPDX-License-Identifier: MIT
// Bindings of the matrix products with weights of 4 bits.
#include "patches.hpp"

namespace bitmill::bind {
namespace {

const void* param(const py::tuple& params, size_t i, int64_t count, int64_t size) {
  return optional(params[i], count, size, false);
}

constexpr uint8_t kCodes[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, //
                              0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, //
                              0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, //
                              0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

// Weights of 4 bits: their codes, then scales, zero-points and values, of which the last two may be None.
Weights4 weights_of(const py::array& codes, const py::tuple& params, int scales, int32_t zero,
                    int64_t group, const py::object& bias, const Product& whole) {
  require(whole.rows >= 0 && whole.cols >= 0 && whole.depth >= 0,
          "bitmill._core: a matrix has a negative size");
  require(group > 0 && group % kEight == 0, "bitmill._core: a group is no multiple of 8");
  const Float type = float_type(scales);
  require(type != kF64, "bitmill._core: no such scales");
  const void* const values = param(params, 2, 64, 1);
  const int64_t rows = steps(whole.cols, kPanel) * kPanel, count = rows * whole.groups(group);
  return {(const uint8_t*)input(codes, rows * whole.eights() * 4, 1),
          param(params, 0, count, item_size(type)),
          type,
          (const uint8_t*)param(params, 1, count, 1),
          values ? values : kCodes,
          !values,
          zero,
          group,
          (const float*)optional(bias, whole.cols, 4, false)};
}

// x is int8, uint8 or float [rows, depth], as `kind` says; x_params are of codes the scales, float, and
// zero-points as int8 codes have them, int32, or None.
void matmul_w4(const py::array& x, int kind, const py::tuple& x_params, const py::array& w,
               const py::tuple& w_params, int scales, int32_t zero, int64_t group,
               const py::object& bias, int64_t rows, int64_t cols, int64_t depth, py::array& out,
               int type, int threads) {
  const Product whole{rows, cols, depth};
  const Weights4 weights = weights_of(w, w_params, scales, zero, group, bias, whole);
  const bool floats = kind == kFloats;
  require(!weights.plain || !floats, "bitmill._core: no values");
  Buffers buffers;
  const auto ready = buffers.get<char>(rows * whole.eights() * kMostBytesOfEight + 1);
  const auto sums = buffers.get<int32_t>(rows * whole.groups(group) + 1);
  const Float t = float_type(type);
  require(t != kF64, "bitmill._core: no such output");
  char* const to = output(out, rows * cols, item_size(t));
  buffers.check();
  const Tokens4 tokens{input(x, rows * depth, floats ? 4 : 1),
                       (Kind4)kind,
                       ready.get(),
                       sums.get(),
                       (const float*)param(x_params, 0, rows, 4),
                       (const int32_t*)param(x_params, 1, rows, 4)};
  const auto& table = *kernels().matmul4;
  const auto pack = floats ? table.pack_floats4[0] : table.pack_tokens4[0];
  run(steps(rows, kMostTileRows), rows * depth, threads, [&](int64_t i) {
    const int64_t row = i * kMostTileRows;
    pack(&tokens, &weights, &whole, row, std::min(kMostTileRows, rows - row));
  });
  const auto kernel = floats ? table.matmul_w4a16[t] : table.matmul_w4a8[t];
  each_patch(whole, floats ? kMemoryFloats : kMemoryCodes, threads,
             [&](const Patch& patch, void* memory) {
               kernel(&tokens, &weights, &whole, patch, memory, to);
             });
}

} // namespace

void add_matmul4(py::module_& m) {
  using py::arg;
  for (const char* name : {"matmul_w4a8", "matmul_w4a16"})
    m.def(name, &matmul_w4, arg("x").noconvert(), arg("kind"), arg("x_params"),
          arg("w").noconvert(), arg("w_params"), arg("scales"), arg("zero"), arg("group"),
          arg("bias").none(true), arg("rows"), arg("cols"), arg("depth"), arg("out").noconvert(),
          arg("type"), arg("threads"));
}

} // namespace bitmill::bind
