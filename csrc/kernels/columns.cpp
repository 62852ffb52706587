// SPDX-License-Identifier: MIT
// The columns kernels of one ISA.
#include "columns.hpp"
#include "fill.hpp"
#include "requantize.hpp"

namespace bitmill::BITMILL_ISA {
const ColumnsTable columns_table = {
#define COLUMNS BITMILL_FILL
#include "../kernels.def"
};
} // namespace bitmill::BITMILL_ISA
