// SPDX-License-Identifier: MIT
// The table kernels of one ISA.
#include "tables.hpp"
#include "fill.hpp"

namespace bitmill::BITMILL_ISA {
const TablesTable tables_table = {
#define TABLES BITMILL_FILL
#include "../kernels.def"
};
} // namespace bitmill::BITMILL_ISA
