// SPDX-License-Identifier: MIT
// The ranges kernels of one ISA, and what is counted in a range.
#include "ranges.hpp"
#include "fill.hpp"
#include "histogram.hpp"

namespace bitmill::BITMILL_ISA {
const RangesTable ranges_table = {
#define RANGES BITMILL_FILL
#include "../kernels.def"
};
} // namespace bitmill::BITMILL_ISA
