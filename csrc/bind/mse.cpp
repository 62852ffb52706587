// SPDX-License-Identifier: MIT
// Binding of the searches for scales: pieces widened to float, with memory of their own.
#include "buffers.hpp"
#include "quantizer.hpp"

namespace bitmill::bind {
namespace {

// Threads pay from far smaller inputs on than where memory is the limit.
constexpr int64_t kWork = 64;

struct Weights {
  const float* at;
  int64_t row_step; // 0 if all rows have the same
};

// `importance` is None, or float32 [cols] or [rows, cols]; the parameters, made by the rule from `lo` and
// `hi`, are replaced by better ones. Returns the numbers of groups that overflowed and underflowed.
py::tuple mse_params(const py::tuple& quantizer, const py::array& x, int type, int64_t rows,
                     int64_t cols, int64_t group, const py::object& importance, bool by_row,
                     const py::array& lo, const py::array& hi, bool exact, const py::object& scale,
                     const py::object& zero_point, const py::object& offset, int threads) {
  const Quantizer q = quantizer_of(quantizer);
  require(group > 0 && !q.wide(), "bitmill._core: a group is empty, or codes are wide");
  const Block all{rows, cols, group, false};
  const Float t = float_type(type);
  const int64_t size = item_size(t), groups = rows * all.groups();
  const char* from = input(x, rows * cols, size);
  const Weights w{(const float*)optional(importance, by_row ? rows * cols : cols, 4, false),
                  by_row ? cols : 0};
  const float *low = (const float*)input(lo, groups, 4), *high = (const float*)input(hi, groups, 4);
  const Params params = params_of(q, groups, scale, zero_point, offset, true);
  const auto kernel = kernels().mse->mse_params[0];
  std::atomic<int64_t> overflowed{0}, underflowed{0};
  Buffers buffers;
  const Pieces pieces(rows, cols, group);
  run(pieces.count(), rows * cols * size * kWork, threads, [&](int64_t i) {
    const auto p = pieces[i];
    const int64_t count = p.rows * p.cols, start = p.row * cols + p.col;
    const int64_t room = std::min(group, p.cols) + 32;
    const auto scratch = buffers.get<int16_t>(3 * room * mse_groups(room));
    const Taken values(from + start * size, t, kF32, count, buffers);
    if (!scratch || !values.at) return;
    const int64_t at = p.row * all.groups() + p.col / group;
    const float* weights = w.at ? w.at + p.row * w.row_step + p.col : nullptr;
    Counts counts{};
    kernel(&q, (const float*)values.at, Block{p.rows, p.cols, group, false}, weights, w.row_step,
           low + at, high + at, exact, scratch.get(), room, params_from(q, params, at), &counts);
    overflowed += counts.overflowed, underflowed += counts.underflowed;
  });
  buffers.check();
  return py::make_tuple(overflowed.load(), underflowed.load());
}

// `params` is (scale, zero_point, offset) and `out` (codes of scales, their steps, codes of offsets, their
// steps); what there is no offset for is None.
py::tuple two_level_params(const py::tuple& quantizer, const py::array& x, int type, int64_t rows,
                           int64_t cols, int64_t group, const py::object& importance, bool by_row,
                           const py::tuple& params, const py::tuple& out, int bits, bool is_signed,
                           int64_t super_groups, int threads) {
  const Quantizer q = quantizer_of(quantizer);
  require(group > 0 && super_groups > 0 && bits >= 2 && bits <= 8 && params.size() == 3 &&
              out.size() == 4,
          "bitmill._core: no such two-level parameters");
  const Block all{rows, cols, group, false};
  const Float t = float_type(type);
  const int64_t size = item_size(t), per_row = all.groups(), groups = rows * per_row;
  const int64_t blocks = (per_row - 1) / super_groups + 1, steps = rows * blocks;
  const int64_t step_size = item_size(q.scales);
  const char* from = input(x, rows * cols, size);
  const float* w = (const float*)optional(importance, by_row ? rows * cols : cols, 4, false);
  const TwoLevel whole = {(const float*)optional(params[0], groups, 4, false),
                          optional(params[1], groups, zero_point_size(q), false),
                          (const float*)optional(params[2], groups, 4, false),
                          (uint8_t*)optional(out[0], groups, 1, true),
                          optional(out[1], steps, step_size, true),
                          (uint8_t*)optional(out[2], groups, 1, true),
                          optional(out[3], steps, step_size, true),
                          super_groups,
                          bits,
                          is_signed};
  require(whole.scale && whole.scale_codes && whole.super_scale &&
              (!whole.offset || (whole.offset_codes && whole.super_offset)),
          "bitmill._core: two-level parameters are missing");
  const auto kernel = kernels().mse->two_level_params[0];
  std::atomic<int64_t> overflowed{0}, underflowed{0};
  Buffers buffers;
  const Pieces pieces(rows, cols, cols); // whole rows: a super-block may end anywhere
  run(pieces.count(), rows * cols * size * kWork, threads, [&](int64_t i) {
    const auto p = pieces[i];
    const Taken values(from + p.row * cols * size, t, kF32, p.rows * cols, buffers);
    if (!values.at) return;
    const auto moved = [](void* p_, int64_t bytes) { return p_ ? (char*)p_ + bytes : nullptr; };
    const int64_t at = p.row * per_row, step = p.row * blocks * step_size;
    TwoLevel piece = whole;
    piece.scale += at;
    if (piece.zero_point)
      piece.zero_point = (const char*)piece.zero_point + at * zero_point_size(q);
    if (piece.offset) piece.offset += at, piece.offset_codes += at;
    piece.scale_codes += at;
    piece.super_scale = moved(piece.super_scale, step);
    piece.super_offset = moved(piece.super_offset, step);
    Counts counts{};
    kernel(&q, (const float*)values.at, Block{p.rows, cols, group, false},
           w ? w + (by_row ? p.row * cols : 0) : nullptr, by_row ? cols : 0, &piece, &counts);
    overflowed += counts.overflowed, underflowed += counts.underflowed;
  });
  buffers.check();
  return py::make_tuple(overflowed.load(), underflowed.load());
}

} // namespace

void add_mse(py::module_& m) {
  using py::arg;
  m.def("mse_params", &mse_params, arg("quantizer"), arg("x").noconvert(), arg("type"), arg("rows"),
        arg("cols"), arg("group"), arg("importance").none(true), arg("by_row"),
        arg("lo").noconvert(), arg("hi").noconvert(), arg("exact"), arg("scale").none(true),
        arg("zero_point").none(true), arg("offset").none(true), arg("threads"));
  m.def("two_level_params", &two_level_params, arg("quantizer"), arg("x").noconvert(), arg("type"),
        arg("rows"), arg("cols"), arg("group"), arg("importance").none(true), arg("by_row"),
        arg("params"), arg("out"), arg("bits"), arg("signed"), arg("super_groups"), arg("threads"));
}

} // namespace bitmill::bind
