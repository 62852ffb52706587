// SPDX-License-Identifier: MIT
// The mse kernels of one ISA.
#include "mse.hpp"
#include "two_level.hpp"
#include "fill.hpp"

namespace bitmill::BITMILL_ISA {
const MseTable mse_table = {
#define MSE BITMILL_FILL
#include "../kernels.def"
};
} // namespace bitmill::BITMILL_ISA
