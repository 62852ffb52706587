// SPDX-License-Identifier: MIT
// The kernels of one ISA from floats to floats.
#include "convert.hpp"
#include "fill.hpp"
#include "hadamard.hpp"

namespace bitmill::BITMILL_ISA {
const ConvertTable convert_table = {
#define CONVERT BITMILL_FILL
#include "../kernels.def"
};
} // namespace bitmill::BITMILL_ISA
