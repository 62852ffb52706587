// SPDX-License-Identifier: MIT
// The matrix products with weights of 4 bits of one ISA.
#include "matmul4.hpp"
#include "fill.hpp"

namespace bitmill::BITMILL_ISA {
const Matmul4Table matmul4_table = {
#define MATMUL4 BITMILL_FILL
#define MATMUL4PART BITMILL_FILL
#include "../kernels.def"
};
} // namespace bitmill::BITMILL_ISA
