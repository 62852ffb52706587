// SPDX-License-Identifier: MIT
// Binding of the verbs, for tests alone.
#include "../verbs.hpp"
#include "bind.hpp"
#include <pybind11/stl.h>

namespace bitmill::bind {
namespace {

std::vector<std::string> verb_names() {
#define BITMILL_VERB(name, expression) #name,
  return {BITMILL_VERBS(BITMILL_VERB)};
#undef BITMILL_VERB
}

// a, b, out: 16 int32 each; only the first n lanes of a and b are read, the others are 0.
void apply_verb(int verb, const py::array& a, const py::array& b, int64_t n, py::array& out) {
  require(n >= 0 && n <= 16, "bitmill._core: n is out of range");
  kernels().verbs->apply_verb[0](verb, (const int32_t*)input(a, 16, 4),
                                 (const int32_t*)input(b, 16, 4), n, (int32_t*)output(out, 16, 4));
}

} // namespace

void add_verbs(py::module_& m) {
  using py::arg;
  m.def("verb_names", &verb_names);
  m.def("apply_verb", &apply_verb, arg("verb"), arg("a").noconvert(), arg("b").noconvert(),
        arg("n"), arg("out").noconvert());
}

} // namespace bitmill::bind
