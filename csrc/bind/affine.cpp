// SPDX-License-Identifier: MIT
// Bindings of the affine kernels. A Quantizer comes as the tuple (qmin, qmax, rule, scales, bits).
#include "call.hpp"

namespace bitmill::bind {
namespace {

py::tuple affine_params(const py::tuple& quantizer, const py::array& lo, const py::array& hi,
                        const py::object& scale, const py::object& zero_point,
                        const py::object& offset) {
  const Quantizer q = quantizer_of(quantizer);
  const int64_t count = lo.size();
  const Params params = params_of(q, count, scale, zero_point, offset, true);
  const float *low = (const float*)input(lo, count, 4), *high = (const float*)input(hi, count, 4);
  const auto kernel = kernels().affine->affine_params[0];
  const Pieces pieces(1, count, 1);
  std::vector<Counts> counts((size_t)pieces.count());
  run(pieces.count(), count * 8, 1, [&](int64_t i) {
    const auto p = pieces[i];
    kernel(&q, low + p.col, high + p.col, p.cols, params_from(q, params, p.col),
           &counts[(size_t)i]);
  });
  return counts_tuple(counts);
}

py::tuple affine_quantize(const py::tuple& quantizer, const py::array& x, int type, int64_t rows,
                          int64_t cols, int64_t group, const py::object& scale,
                          const py::object& zero_point, const py::object& offset, py::array& codes,
                          int threads) {
  const GroupsCall call(quantizer, type, rows, cols, group);
  const Params params = call.params(scale, zero_point, offset, true);
  const char* from = call.values(x);
  char* to = call.codes(codes);
  const auto kernel = kernels().affine->affine_quantize[taken_as(call.type())];
  Buffers buffers;
  const Pieces pieces = call.pieces(false);
  std::vector<Counts> counts((size_t)pieces.count());
  call.each(pieces, codes.nbytes(), threads,
            [&](int64_t i, Block block, int64_t value, int64_t code, int64_t at) {
              const Taken x_(from + value, call.type(), block.rows * block.cols, buffers);
              if (x_.at)
                kernel(&call.q(), x_.at, block, params_from(call.q(), params, at), to + code,
                       &counts[(size_t)i]);
            });
  buffers.check();
  return counts_tuple(counts);
}

void affine_encode(const py::tuple& quantizer, const py::array& x, int type, int64_t rows,
                   int64_t cols, int64_t group, const py::object& scale,
                   const py::object& zero_point, const py::object& offset, py::array& codes,
                   int threads) {
  const GroupsCall call(quantizer, type, rows, cols, group);
  const Params params = call.params(scale, zero_point, offset, false);
  const char* from = call.values(x);
  char* to = call.codes(codes);
  const auto kernel = kernels().affine->affine_encode[taken_as(call.type())];
  Buffers buffers;
  call.each(call.pieces(true), codes.nbytes(), threads,
            [&](int64_t, Block block, int64_t value, int64_t code, int64_t at) {
              const Taken x_(from + value, call.type(), block.rows * block.cols, buffers);
              if (x_.at)
                kernel(&call.q(), x_.at, block, params_from(call.q(), params, at), to + code);
            });
  buffers.check();
}

void affine_decode(const py::tuple& quantizer, const py::array& codes, int64_t rows, int64_t cols,
                   int64_t group, const py::object& scale, const py::object& zero_point,
                   const py::object& offset, py::array& out, int type, int threads) {
  const GroupsCall call(quantizer, type, rows, cols, group);
  const Params params = call.params(scale, zero_point, offset, false);
  const char* from = call.codes(codes);
  char* to = call.values(out);
  const auto kernel = kernels().affine->affine_decode[taken_as(call.type())];
  Buffers buffers;
  call.each(call.pieces(true), out.nbytes(), threads,
            [&](int64_t, Block block, int64_t value, int64_t code, int64_t at) {
              const Given y(to + value, call.type(), block.rows * block.cols, buffers);
              if (!y.at) return;
              kernel(&call.q(), from + code, block, params_from(call.q(), params, at), y.at);
              y.finish();
            });
  buffers.check();
}

} // namespace

void add_affine(py::module_& m) {
  using py::arg;
  m.def("affine_params", &affine_params, arg("quantizer"), arg("lo").noconvert(),
        arg("hi").noconvert(), arg("scale"), arg("zero_point"), arg("offset"));
  m.def("affine_quantize", &affine_quantize, arg("quantizer"), arg("x").noconvert(), arg("type"),
        arg("rows"), arg("cols"), arg("group"), arg("scale"), arg("zero_point"), arg("offset"),
        arg("codes").noconvert(), arg("threads"));
  m.def("affine_encode", &affine_encode, arg("quantizer"), arg("x").noconvert(), arg("type"),
        arg("rows"), arg("cols"), arg("group"), arg("scale"), arg("zero_point"), arg("offset"),
        arg("codes").noconvert(), arg("threads"));
  m.def("affine_decode", &affine_decode, arg("quantizer"), arg("codes").noconvert(), arg("rows"),
        arg("cols"), arg("group"), arg("scale"), arg("zero_point"), arg("offset"),
        arg("out").noconvert(), arg("type"), arg("threads"));
}

} // namespace bitmill::bind
