// SPDX-License-Identifier: MIT
// AVX-512 (F, BW, CD, DQ, VL, VNNI, VBMI) on a CPU with AVX2, for tests: first on the include path
// of code that says #include <immintrin.h>, it defines the intrinsics as Intel's guide does, with
// AVX2 instructions on halves or a loop over lanes. GCC, with optimisation.
//
// lanes.hpp has the types and the tools; an intrinsic that is missing is one line in one of:
#pragma once
#ifndef __AVX2__
#error "the emulation needs the AVX2 flags"
#endif
#define _IMMINTRIN_H_INCLUDED // GCC's headers up to AVX2, and none of those for AVX-512
#include <x86gprintrin.h>
#include <xmmintrin.h>
// xmmintrin.h stands first: the others build on it.
#include <emmintrin.h>
#include <pmmintrin.h>
#include <smmintrin.h>
#include <tmmintrin.h>
#include <wmmintrin.h>
#include <avxintrin.h>
#include <avx2intrin.h>
#include <f16cintrin.h>
#include <fmaintrin.h>
#include <stdint.h>
#include <string.h>

#include "lanes.hpp"
// what it builds on comes first
#include "casts.hpp"
#include "memory.hpp"
#include "masks.hpp"
#include "integers.hpp"
#include "floats.hpp"
#include "permutes.hpp"
#include "conversions.hpp"
