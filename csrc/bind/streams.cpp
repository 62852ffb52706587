// SPDX-License-Identifier: MIT
// Bindings of the streams and peaks, for bench/ alone.
#include "bind.hpp"
#include <algorithm>

namespace bitmill::bind {
namespace {

constexpr int64_t kLine = 64, kPieceLines = 8192;

uintptr_t next_line(const void* p) { return ((uintptr_t)p + kLine - 1) / kLine * kLine; }

// Reads x, from its first line on, in steps of `lines_in` lines, streaming `lines_out` lines to `out` in
// each; bytes that fill no step are left alone. The number of bytes moved. From lines on, because a
// ceiling is what the memory can do: reading across lines costs a quarter.
int64_t stream(const py::array& x, py::array& out, int lines_in, int lines_out, int threads) {
  const int in = lines_out == 0 ? 8 : lines_in; // reading alone goes by 8 lines
  require(in * 16 + lines_out == 0x80 || lines_out == 1 || (in == 1 && lines_out <= 8),
          "bitmill._core: no such stream");
  const char* given = input(x, x.size(), x.itemsize());
  const char* from = (const char*)next_line(given);
  char* start = output(out, out.size(), out.itemsize());
  char* to = (char*)next_line(start);
  int64_t steps = INT64_MAX;
  if (in) steps = std::max<int64_t>(0, given + x.nbytes() - from) / (in * kLine);
  if (lines_out) steps = std::min(steps, (start + out.nbytes() - to) / (lines_out * kLine));
  const int64_t each = kPieceLines / (in + lines_out);
  const auto kernel = kernels().streams->stream[0];
  run((steps + each - 1) / each, steps * (in + lines_out) * kLine, threads, [&](int64_t i) {
    alignas(kLine) char seen[kLine] = {};
    kernel(from + i * each * in * kLine, lines_out ? to + i * each * lines_out * kLine : seen,
           std::min(each, steps - i * each), in, lines_out);
  });
  return steps * (in + lines_out) * kLine;
}

// `steps` (a multiple of 12) vectors of the named multiply-accumulate; the number of operations, a
// product and a sum counting as two.
int64_t peak(const std::string& name, int64_t steps) {
  alignas(kLine) float floats[16] = {1.0f, 0.5f};
  alignas(kLine) int32_t bytes[16] = {0x01010101, 0x01010101};
  int64_t per_step = 0;
  run(1, 0, 1, [&](int64_t) {
    if (name == "fma_f32") kernels().streams->peak_fma_f32[0](steps, floats), per_step = 16 * 2;
    if (name == "dot_u8i8") kernels().streams->peak_dot_u8i8[0](steps, bytes), per_step = 64 * 2;
  });
  require(per_step != 0 && steps % 12 == 0, "bitmill._core: no such peak");
  return steps * per_step;
}

} // namespace

void add_streams(py::module_& m) {
  using py::arg;
  m.def("stream", &stream, arg("x").noconvert(), arg("out").noconvert(), arg("lines_in"),
        arg("lines_out"), arg("threads"));
  m.def("peak", &peak, arg("name"), arg("steps"));
}

} // namespace bitmill::bind
