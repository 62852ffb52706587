// SPDX-License-Identifier: MIT
// The streams and peaks of one ISA.
#include "streams.hpp"
#include "fill.hpp"

namespace bitmill::BITMILL_ISA {
const StreamsTable streams_table = {
#define STREAMS BITMILL_FILL
#include "../kernels.def"
};
} // namespace bitmill::BITMILL_ISA
