// SPDX-License-Identifier: MIT
// The order statistics kernel of one ISA.
#include "order.hpp"
#include "fill.hpp"

namespace bitmill::BITMILL_ISA {
const OrderTable order_table = {
#define ORDER BITMILL_FILL
#include "../kernels.def"
};
} // namespace bitmill::BITMILL_ISA
