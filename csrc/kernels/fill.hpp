// SPDX-License-Identifier: MIT
// Turns a line of kernels.def into an entry of a table: the kernel's body for each of its variants.
#pragma once
#include "../table.hpp"

namespace bitmill {
BITMILL_DECLARE_TABLES(BITMILL_ISA)
}

#define BITMILL_FILL(variants, name, arguments) BITMILL_FILL_##variants(name),
#define BITMILL_FILL_ONE(name) {name}
#define BITMILL_FILL_FLOATS(name) {name<float>, name<f16>, name<bf16>, name<double>}
#define BITMILL_FILL_HALVES(name) {name<float>, name<f16>, name<bf16>}
#define BITMILL_FILL_WIDTHS(name)                                                                  \
  {nullptr, name<1>, name<2>, name<3>, name<4>, name<5>, name<6>, name<7>, name<8>}
