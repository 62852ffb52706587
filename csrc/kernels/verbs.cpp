// SPDX-License-Identifier: MIT
// The verbs of one ISA, callable one by one.
#include "verbs.hpp"
#include "fill.hpp"

namespace bitmill::BITMILL_ISA {
const VerbsTable verbs_table = {
#define VERBS BITMILL_FILL
#include "../kernels.def"
};
} // namespace bitmill::BITMILL_ISA
