// A state of random numbers for a while: what runs again draws the numbers that it drew first.
#pragma once

#include "cermet/array.h"

namespace cermet::random {

// While it lives, the thread that made it draws from this state, and not from the global one.
class StateContext {
 public:
  explicit StateContext(const array& state);
  ~StateContext();
  StateContext(const StateContext&) = delete;
  StateContext& operator=(const StateContext&) = delete;

 private:
  array state_;
  array* const before_;
};

}  // namespace cermet::random
