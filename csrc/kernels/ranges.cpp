// SPDX-License-Identifier: MIT
// The ranges kernels of one ISA.
#include "ranges.hpp"
#include "fill.hpp"

namespace bitmill::BITMILL_ISA {
const RangesTable ranges_table = {
#define RANGES BITMILL_FILL
#include "../kernels.def"
};
} // namespace bitmill::BITMILL_ISA
