#include "interpreter.h"

#include <atomic>
#include <chrono>
#include <new>
#include <thread>
#include <vector>
#ifdef __APPLE__
#include <pthread.h>
#else
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "cermet/eval.h"

namespace cermet::python {
namespace {

std::atomic<bool> ends{false};  // the interpreter does

bool is_main_thread() {
#ifdef __APPLE__
  return pthread_main_np() != 0;
#else
  return getpid() == syscall(SYS_gettid);
#endif
}

void* unlock() { return nb::is_alive() && PyGILState_Check() ? PyEval_SaveThread() : nullptr; }

void lock(void* state) {
  try {
    PyEval_RestoreThread(static_cast<PyThreadState*>(state));
  } catch (...) {  // how pthread_exit ends a thread; nothing may leave a destructor
    for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
  }
}

std::atomic<Released*> released{nullptr};

}  // namespace

Unlocked::Unlocked() : state_(unlock()) {}
Unlocked::~Unlocked() {
  if (state_) lock(state_);
}

void Released::let_go(Released* mine) noexcept {
  if (ends || !nb::is_alive()) return;  // the interpreter is about to take everything down
  if (PyGILState_Check()) {
    delete mine;
    return;
  }
  mine->next_ = released.load();
  while (!released.compare_exchange_weak(mine->next_, mine)) {
  }
  if (!mine->next_) Py_AddPendingCall(&drop, nullptr);
}

int Released::drop(void*) {
  for (Released* r = released.exchange(nullptr); r;) delete std::exchange(r, r->next_);
  return 0;
}

void let_go(nb::object o) noexcept {
  thread_local std::vector<nb::object>* waiting = nullptr;
  if (waiting) {
    try {
      waiting->push_back(std::move(o));
    } catch (const std::bad_alloc&) {  // it goes at once
    }
    return;
  }
  std::vector<nb::object> list;
  waiting = &list;
  for (o.reset(); !list.empty(); o.reset()) {
    o = std::move(list.back());
    list.pop_back();
  }
  waiting = nullptr;
}

void bind_interpreter() {
  set_unlocking(&unlock, &lock);
  // Signals are the main thread's. Their own exception stays pending for translate.
  set_interrupt_check([] {
    if (!is_main_thread() || !nb::is_alive()) return false;
    const nb::gil_scoped_acquire acquired;
    return PyErr_Occurred() != nullptr || PyErr_CheckSignals() != 0;
  });
  nb::module_::import_("atexit").attr("register")(nb::cpp_function([] { ends = true; }));
}

}  // namespace cermet::python
