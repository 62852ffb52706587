// SPDX-License-Identifier: MIT
// The errors kernels of one ISA.
#include "affine_error.hpp"
#include "errors.hpp"
#include "fill.hpp"

namespace bitmill::BITMILL_ISA {
const ErrorsTable errors_table = {
#define ERRORS BITMILL_FILL
#include "../kernels.def"
};
} // namespace bitmill::BITMILL_ISA
