// SPDX-License-Identifier: MIT
// The affine kernels of one ISA.
#include "affine.hpp"
#include "fill.hpp"

namespace bitmill::BITMILL_ISA {
const AffineTable affine_table = {
#define AFFINE BITMILL_FILL
#include "../kernels.def"
};
} // namespace bitmill::BITMILL_ISA
