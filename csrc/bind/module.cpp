// SPDX-License-Identifier: MIT
// The module bitmill._core: ISA control, the names of the kernels, and one group of functions a
// family.
#include "../default_floats.hpp"
#include "bind.hpp"
#include <pybind11/stl.h>
#include <string>
#include <vector>

namespace bitmill::bind {
namespace {

unsigned long main_thread = 0;

bool signal_pending() {
  py::gil_scoped_acquire gil;
  return PyErr_CheckSignals() != 0;
}

std::vector<std::string> kernel_names() {
#define BITMILL_NAME(variants, name, arguments) #name,
  return {
#define RANGES BITMILL_NAME
#define AFFINE BITMILL_NAME
#define TOKENS BITMILL_NAME
#define COLUMNS BITMILL_NAME
#define PACK BITMILL_NAME
#define CONVERT BITMILL_NAME
#define ERRORS BITMILL_NAME
#define MSE BITMILL_NAME
#define ORDER BITMILL_NAME
#define KMEANS BITMILL_NAME
#define MINIFLOATS BITMILL_NAME
#define TABLES BITMILL_NAME
#define MATMUL BITMILL_NAME
#define MATMUL4 BITMILL_NAME
#include "../kernels.def"
  };
#undef BITMILL_NAME
}

} // namespace

void remember_main_thread() {
  const py::object main = py::module_::import("threading").attr("main_thread")();
  main_thread = py::cast<unsigned long>(main.attr("ident"));
}

void run(int64_t count, int64_t bytes, int threads, Task task) {
  // Python runs signal handlers on its main thread alone; others need not ask.
  const bool asks = PyThread_get_thread_ident() == main_thread;
  // Not gil_scoped_release: when the interpreter exits during a daemon thread's call, RestoreThread
  // ends that thread by unwinding it, which must not pass through a destructor.
  PyThreadState* const thread = PyEval_SaveThread();
  const bool finished = run_parallel(count, bytes, threads, task, asks ? signal_pending : nullptr);
  PyEval_RestoreThread(thread);
  if (!finished) throw py::error_already_set();
}

} // namespace bitmill::bind

PYBIND11_MODULE(_core, m, pybind11::mod_gil_not_used()) {
  using namespace bitmill;
  m.doc() = "private; use bitmill";
  try {
    choose_isa_at_import();
  } catch (const std::invalid_argument& error) {
    throw pybind11::import_error(error.what());
  }
  bind::remember_main_thread();
  m.def("isa", &active_isa);
  m.def("isas", &usable_isas);
  m.def("use_isa", &use_isa, pybind11::arg("name"));
  m.def(
      "stream_from", [](int64_t bytes) { return bind::stream_from.exchange(bytes); },
      pybind11::arg("bytes"));
  m.def("share_from", &share_from, pybind11::arg("bytes"));
  m.def("default_floats", [] { return exchange_floats(kDefaultFloats); });
  m.def(
      "restore_floats", [](uint64_t before) { exchange_floats(before); }, pybind11::arg("before"));
  m.def("kernel_names", &bind::kernel_names);
#define BITMILL_ADD(Type, name) bind::add_##name(m);
  BITMILL_FAMILIES(BITMILL_ADD)
#undef BITMILL_ADD
}
