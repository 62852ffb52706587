// SPDX-License-Identifier: MIT
// The integer matrix products of one ISA.
#include "matmul.hpp"
#include "fill.hpp"

namespace bitmill::BITMILL_ISA {
const MatmulTable matmul_table = {
#define MATMUL BITMILL_FILL
#define MATMULPART BITMILL_FILL
#include "../kernels.def"
};
} // namespace bitmill::BITMILL_ISA
