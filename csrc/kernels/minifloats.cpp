// SPDX-License-Identifier: MIT
// The minifloat kernels of one ISA.
#include "minifloats.hpp"
#include "fill.hpp"

namespace bitmill::BITMILL_ISA {
const MinifloatsTable minifloats_table = {
#define MINIFLOATS BITMILL_FILL
#include "../kernels.def"
};
} // namespace bitmill::BITMILL_ISA
