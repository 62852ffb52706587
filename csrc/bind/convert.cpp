// SPDX-License-Identifier: MIT
// Bindings of the kernels from floats to floats.
#include "hadamard.hpp"

namespace bitmill::bind {
namespace {

void to_float32(const py::array& x, int type, py::array& out, int threads) {
  const Float t = float_type(type);
  const int64_t count = x.size(), size = item_size(t);
  const char* from = input(x, count, size);
  float* to = (float*)output(out, count, 4);
  const auto kernel = kernels().convert->to_float32[t];
  const Pieces pieces(1, count, 1);
  run(pieces.count(), count * (size + 4), threads, [&](int64_t i) {
    const auto p = pieces[i];
    kernel(from + p.col * size, p.cols, streams(count * 4), to + p.col);
  });
}

void from_float32(const py::array& x, int type, py::array& out, int threads) {
  const Float t = float_type(type);
  const int64_t count = x.size(), size = item_size(t);
  const float* from = (const float*)input(x, count, 4);
  char* to = output(out, count, size);
  const auto kernel = kernels().convert->from_float32[t];
  const Pieces pieces(1, count, 1);
  run(pieces.count(), count * (size + 4), threads, [&](int64_t i) {
    const auto p = pieces[i];
    kernel(from + p.col, p.cols, streams(count * size), to + p.col * size);
  });
}

} // namespace

void add_convert(py::module_& m) {
  using py::arg;
  m.def("to_float32", &to_float32, arg("x").noconvert(), arg("type"), arg("out").noconvert(),
        arg("threads"));
  m.def("from_float32", &from_float32, arg("x").noconvert(), arg("type"), arg("out").noconvert(),
        arg("threads"));
  m.def("hadamard", &hadamard, arg("x").noconvert(), arg("type"), arg("rows"), arg("factors"),
        arg("signs"), arg("out").noconvert(), arg("threads"));
}

} // namespace bitmill::bind
