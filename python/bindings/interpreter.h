// Python's lock, in calls that take long, and objects that any thread may let go of.
#pragma once

#include <nanobind/nanobind.h>

#include <memory>
#include <utility>

namespace cermet::python {

namespace nb = nanobind;

// Lets go of Python's lock. Where the interpreter ends meanwhile, the thread that takes it again
// sleeps for ever: the interpreter would end it in the middle of a C++ function.
class Unlocked {
 public:
  Unlocked();
  ~Unlocked();
  Unlocked(const Unlocked&) = delete;
  Unlocked& operator=(const Unlocked&) = delete;

 private:
  void* state_;
};

// Something of Python's that threads without the lock may let go of: it then goes soon, in Python's
// main thread.
class Released {
 public:
  virtual ~Released() = default;
  static void let_go(Released* mine) noexcept;

 private:
  static int drop(void*);
  Released* next_ = nullptr;
};
template <class T>
std::shared_ptr<T> share(T value) {
  struct Holder final : Released {
    explicit Holder(T value) : value(std::move(value)) {}
    T value;
  };
  auto* const holder = new Holder(std::move(value));
  return std::shared_ptr<T>(std::shared_ptr<Holder>(holder, Released::let_go), &holder->value);
}

// Lets go of an object once those that are being let go of are gone: a tower of functions, each of
// which holds the next, ends in a loop.
void let_go(nb::object o) noexcept;
// A member that is let go of so.
class Held : public nb::object {
 public:
  Held() = default;
  Held(nb::object o) : nb::object(std::move(o)) {}
  Held(Held&&) = default;
  Held& operator=(Held&&) = default;
  ~Held() {
    if (is_valid()) let_go(std::move(*this));
  }
};
inline std::shared_ptr<nb::object> share(nb::object o) { return share<Held>(std::move(o)); }
inline std::shared_ptr<nb::object> share(const Held& o) { return share(nb::object(o)); }

// Makes evaluations let go of the lock, and stop for signals.
void bind_interpreter();

}  // namespace cermet::python
