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

} // namespace

void add_mse(py::module_& m) {
  using py::arg;
  m.def("mse_params", &mse_params, arg("quantizer"), arg("x").noconvert(), arg("type"), arg("rows"),
        arg("cols"), arg("group"), arg("importance").none(true), arg("by_row"),
        arg("lo").noconvert(), arg("hi").noconvert(), arg("exact"), arg("scale").none(true),
        arg("zero_point").none(true), arg("offset").none(true), arg("threads"));
}

} // namespace bitmill::bind
