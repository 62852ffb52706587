// SPDX-License-Identifier: MIT
// Bindings of the token kernels: rows of values, one scale each, to codes of one byte and their sums.
#include "call.hpp"

namespace bitmill::bind {
namespace {

void check_codes(const Quantizer& q) {
  require(q.bits == 0 && !q.wide() && q.scales == kF32, "bitmill._core: tokens are of one byte");
}

py::tuple token_quantize(const py::tuple& quantizer, const py::array& x, int type, int64_t rows,
                         int64_t cols, const py::object& scale, const py::object& zero_point,
                         py::array& codes, py::array& sums, int threads) {
  const GroupsCall call(quantizer, type, rows, cols, cols);
  check_codes(call.q());
  const Params params = call.params(scale, zero_point, py::none(), true);
  const char* from = call.values(x);
  char* to = call.codes(codes);
  int32_t* sum = (int32_t*)output(sums, rows, 4);
  const auto kernel = kernels().tokens->token_quantize[0];
  Buffers buffers;
  const Pieces pieces = call.pieces(false);
  std::vector<Counts> counts((size_t)pieces.count());
  call.each(pieces, codes.nbytes(), threads,
            [&](int64_t i, Block block, int64_t value, int64_t code, int64_t at) {
              const Taken x_(from + value, call.type(), kF32, block.rows * block.cols, buffers);
              if (x_.at)
                kernel(&call.q(), (const float*)x_.at, block, params_from(call.q(), params, at),
                       to + code, sum + at, &counts[(size_t)i]);
            });
  buffers.check();
  return counts_tuple(counts);
}

void token_encode(const py::tuple& quantizer, const py::array& x, int type, int64_t rows,
                  int64_t cols, const py::object& scale, const py::object& zero_point,
                  py::array& codes, py::array& sums, int threads) {
  const GroupsCall call(quantizer, type, rows, cols, cols);
  check_codes(call.q());
  const Params params = call.params(scale, zero_point, py::none(), false);
  const char* from = call.values(x);
  char* to = call.codes(codes);
  int32_t* sum = (int32_t*)output(sums, rows, 4);
  const auto kernel = kernels().tokens->token_encode[0];
  Buffers buffers;
  call.each(call.pieces(false), codes.nbytes(), threads,
            [&](int64_t, Block block, int64_t value, int64_t code, int64_t at) {
              const Taken x_(from + value, call.type(), kF32, block.rows * block.cols, buffers);
              if (x_.at)
                kernel(&call.q(), (const float*)x_.at, block, params_from(call.q(), params, at),
                       to + code, sum + at);
            });
  buffers.check();
}

} // namespace

void add_tokens(py::module_& m) {
  using py::arg;
  m.def("token_quantize", &token_quantize, arg("quantizer"), arg("x").noconvert(), arg("type"),
        arg("rows"), arg("cols"), arg("scale"), arg("zero_point"), arg("codes").noconvert(),
        arg("sums").noconvert(), arg("threads"));
  m.def("token_encode", &token_encode, arg("quantizer"), arg("x").noconvert(), arg("type"),
        arg("rows"), arg("cols"), arg("scale"), arg("zero_point"), arg("codes").noconvert(),
        arg("sums").noconvert(), arg("threads"));
}

} // namespace bitmill::bind
