// SPDX-License-Identifier: MIT
// CPU detection and the active table. Compiled for the baseline: nothing here may use vector code.
#include "cpu.hpp"
#include <atomic>
#include <stdexcept>
#include <stdlib.h>

#if defined(__x86_64__) || defined(_M_X64)
#if defined(_MSC_VER)
#include <intrin.h>
#else
#include <cpuid.h>
#endif
#endif

namespace bitmill {

// The kernels compiled for `isa`.
#define BITMILL_ADDRESS(Type, name) &name##_table,
#define BITMILL_KERNELS_OF(isa)                                                                    \
  BITMILL_DECLARE_TABLES(isa)                                                                      \
  namespace isa {                                                                                  \
  static constexpr Kernels kKernels = {BITMILL_FAMILIES(BITMILL_ADDRESS)};                         \
  }
BITMILL_KERNELS_OF(scalar)
#ifdef BITMILL_HAS_AVX2
BITMILL_KERNELS_OF(avx2)
#endif
#ifdef BITMILL_HAS_AVX512
BITMILL_KERNELS_OF(avx512)
#endif

namespace {

// A bit of CPUID: leaf 1 or 7 (subleaf 0) or 0x80000001, register 0..3 for eax..edx.
struct Feature {
  const char* name;
  uint32_t leaf;
  int reg, bit;
};

struct Isa {
  const char* name;
  const Kernels* kernels;
  uint64_t saved_state; // bits of XCR0: registers that the operating system must save
  std::vector<Feature> features;
};

std::vector<Feature> extended(std::vector<Feature> base, const std::vector<Feature>& more) {
  base.insert(base.end(), more.begin(), more.end());
  return base;
}

const std::vector<Isa>& isas() {
  static const std::vector<Feature> kV3 = {
      {"avx2", 7, 1, 5}, {"fma", 1, 2, 12},           {"f16c", 1, 2, 29}, {"bmi1", 7, 1, 3},
      {"bmi2", 7, 1, 8}, {"lzcnt", 0x80000001, 2, 5}, {"movbe", 1, 2, 22}};
  static const std::vector<Feature> kV4 = extended(kV3, {{"avx512f", 7, 1, 16},
                                                         {"avx512dq", 7, 1, 17},
                                                         {"avx512cd", 7, 1, 28},
                                                         {"avx512bw", 7, 1, 30},
                                                         {"avx512vl", 7, 1, 31},
                                                         {"avx512vbmi", 7, 2, 1},
                                                         {"avx512vnni", 7, 2, 11}});
  static const std::vector<Isa> all = {
      {"scalar", &scalar::kKernels, 0, {}},
#ifdef BITMILL_HAS_AVX2
      {"avx2", &avx2::kKernels, 0x06, kV3}, // xmm, ymm
#endif
#ifdef BITMILL_EMULATE_AVX512 // made of AVX2, for tests
      {"avx512", &avx512::kKernels, 0x06, kV3},
#elif defined(BITMILL_HAS_AVX512)
      {"avx512", &avx512::kKernels, 0xe6, kV4}, // and the masks, and both halves of zmm
#endif
  };
  return all;
}

#if defined(__x86_64__) || defined(_M_X64)
bool has(const Feature& feature) {
  uint32_t regs[4] = {};
#if defined(_MSC_VER)
  int top[4], out[4];
  __cpuid(top, (int)(feature.leaf & 0x80000000));
  if ((uint32_t)top[0] < feature.leaf) return false;
  __cpuidex(out, (int)feature.leaf, 0);
  for (int i = 0; i < 4; ++i) regs[i] = (uint32_t)out[i];
#else
  if (!__get_cpuid_count(feature.leaf, 0, &regs[0], &regs[1], &regs[2], &regs[3])) return false;
#endif
  return regs[feature.reg] >> feature.bit & 1;
}

uint64_t saved_state() {
  if (!has({"osxsave", 1, 2, 27})) return 0;
#if defined(_MSC_VER)
  return _xgetbv(0);
#else
  uint32_t low, high; // the instruction itself: its intrinsic would need -mxsave on this file
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t)high << 32 | low;
#endif
}
#else
bool has(const Feature&) { return false; }
uint64_t saved_state() { return 0; }
#endif

// What keeps this machine from running `isa`; empty if nothing does.
std::string missing(const Isa& isa) {
  for (const Feature& feature : isa.features)
    if (!has(feature)) return std::string(feature.name) + ", which this CPU does not have";
  if ((saved_state() & isa.saved_state) != isa.saved_state)
    return "registers that this operating system does not save";
  return "";
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

std::atomic<const Isa*> active{nullptr};

} // namespace

std::vector<std::string> compiled_isas() {
  std::vector<std::string> names;
  for (const Isa& isa : isas()) names.push_back(isa.name);
  return names;
}

std::vector<std::string> usable_isas() {
  std::vector<std::string> names;
  for (const Isa& isa : isas())
    if (missing(isa).empty()) names.push_back(isa.name);
  return names;
}

void use_isa(const std::string& name) {
  const std::string usable = "; usable here: " + joined(usable_isas());
  for (const Isa& isa : isas()) {
    if (isa.name != name) continue;
    const std::string lacking = missing(isa);
    if (!lacking.empty()) throw std::invalid_argument("'" + name + "' needs " + lacking + usable);
    active.store(&isa);
    return;
  }
  throw std::invalid_argument("'" + name + "' is not one of: " + joined(compiled_isas()) + usable);
}

std::string active_isa() { return active.load()->name; }

void choose_isa_at_import() {
  const char* forced = getenv("BITMILL_ISA");
  if (forced == nullptr || *forced == 0) return use_isa(usable_isas().back());
  try {
    use_isa(forced);
  } catch (const std::invalid_argument& error) {
    throw std::invalid_argument(std::string("BITMILL_ISA=") + error.what());
  }
}

const Kernels& kernels() { return *active.load(std::memory_order_relaxed)->kernels; }

} // namespace bitmill
