// SPDX-License-Identifier: MIT
// The matrix products with weights of 4 bits of one ISA.
#include "fill.hpp"
#include "matmul_w4a16.hpp"
#include "matmul_w4a8.hpp"

namespace bitmill::BITMILL_ISA {
const Matmul4Table matmul4_table = {
#define MATMUL4 BITMILL_FILL
#define MATMUL4PART BITMILL_FILL
#include "../kernels.def"
};
} // namespace bitmill::BITMILL_ISA
