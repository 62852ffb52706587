// SPDX-License-Identifier: MIT
// The histogram kernel of one ISA.
#include "histogram.hpp"
#include "fill.hpp"

namespace bitmill::BITMILL_ISA {
const HistogramTable histogram_table = {
#define HISTOGRAM BITMILL_FILL
#include "../kernels.def"
};
} // namespace bitmill::BITMILL_ISA
