// SPDX-License-Identifier: MIT
// The k-means kernels of one ISA.
#include "kmeans.hpp"
#include "assign.hpp"
#include "distinct.hpp"
#include "fill.hpp"

namespace bitmill::BITMILL_ISA {
const KmeansTable kmeans_table = {
#define KMEANS BITMILL_FILL
#include "../kernels.def"
};
} // namespace bitmill::BITMILL_ISA
