// SPDX-License-Identifier: MIT
// What every binding does: arrays to pointers, the GIL released, pieces shared over threads.
// Arguments were checked in Python (_check.py); what is tested here would be a mistake of bitmill's
// own.
#pragma once
#include "../cpu.hpp"
#include "../parallel.hpp"
#include <atomic>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <stdexcept>

namespace bitmill::bind {

namespace py = pybind11;

// Each family's functions are added by add_<family>.
#define BITMILL_ADD(Type, name) void add_##name(py::module_& m);
BITMILL_FAMILIES(BITMILL_ADD)
#undef BITMILL_ADD

inline Float float_type(int type) {
  if (type < kF32 || type >= FLOATS) throw std::invalid_argument("bitmill._core: no such dtype");
  return (Float)type;
}
inline int64_t item_size(Float type) { return type == kF64 ? 8 : type == kF32 ? 4 : 2; }

inline void require(bool condition, const char* what) {
  if (!condition) throw std::invalid_argument(what);
}

// The memory of a C-contiguous array of `count` items of this size.
inline const char* input(const py::array& a, int64_t count, int64_t size) {
  require((a.flags() & py::array::c_style) && a.itemsize() == size && a.size() == count,
          "bitmill._core: an input is not the array that was announced");
  return static_cast<const char*>(a.data());
}
inline char* output(py::array& a, int64_t count, int64_t size) {
  input(a, count, size);
  return static_cast<char*>(a.mutable_data());
}
// The same for arrays that may be None.
inline char* optional(const py::object& a, int64_t count, int64_t size, bool writable) {
  if (a.is_none()) return nullptr;
  py::array array = py::cast<py::array>(a);
  return writable ? output(array, count, size) : const_cast<char*>(input(array, count, size));
}

// Outputs of so many bytes are written past the caches: smaller ones are soon read from them. Tests set it
// to 0.
inline std::atomic<int64_t> stream_from{int64_t(8) << 20};
inline bool streams(int64_t bytes) { return bytes >= stream_from.load(std::memory_order_relaxed); }

// task(i) for every piece, without the GIL; a pending exception (Ctrl-C) is raised at the end.
void run(int64_t count, int64_t bytes, int threads, Task task);

} // namespace bitmill::bind
