// SPDX-License-Identifier: MIT
// The token kernels of one ISA.
#include "tokens.hpp"
#include "fill.hpp"

namespace bitmill::BITMILL_ISA {
const TokensTable tokens_table = {
#define TOKENS BITMILL_FILL
#include "../kernels.def"
};
} // namespace bitmill::BITMILL_ISA
