// SPDX-License-Identifier: MIT
// Which instruction sets this machine can run, which one is active, and its kernels.
#pragma once
#include "table.hpp"
#include <string>
#include <vector>

namespace bitmill {

// Names of the ISAs compiled in, and of those that this CPU and operating system can run; best
// last.
std::vector<std::string> compiled_isas();
std::vector<std::string> usable_isas();

// Make `name` the active ISA. Throws std::invalid_argument with the usable ones if it cannot be.
void use_isa(const std::string& name);
std::string active_isa();

// Read BITMILL_ISA, or take the best usable ISA. Throws std::invalid_argument as use_isa does.
void choose_isa_at_import();

// The kernels of the active ISA; a call reads them once.
const Kernels& kernels();

} // namespace bitmill
