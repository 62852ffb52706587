// SPDX-License-Identifier: MIT
// The pack kernels of one ISA.
#include "pack.hpp"
#include "fill.hpp"

namespace bitmill::BITMILL_ISA {
const PackTable pack_table = {
#define PACK BITMILL_FILL
#define PACKING BITMILL_FILL
#include "../kernels.def"
};
} // namespace bitmill::BITMILL_ISA
