// SPDX-License-Identifier: MIT
// The convert kernels of one ISA.
#include "convert.hpp"
#include "fill.hpp"

namespace bitmill::BITMILL_ISA {
const ConvertTable convert_table = {
#define CONVERT BITMILL_FILL
#include "../kernels.def"
};
} // namespace bitmill::BITMILL_ISA
