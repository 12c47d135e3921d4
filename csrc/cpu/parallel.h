// One thread pool for the process, and loops spread over it.
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>

namespace cermet::cpu {

// A reference to a callable void(begin, end): no allocation, valid during the call.
class LoopBody {
 public:
  template <class F>
    requires(!std::is_same_v<std::remove_cvref_t<F>, LoopBody>)
  LoopBody(F&& f)
      : object_(const_cast<void*>(static_cast<const void*>(std::addressof(f)))),
        call_([](void* o, std::int64_t b, std::int64_t e) {
          (*static_cast<std::remove_reference_t<F>*>(o))(b, e);
        }) {}
  void operator()(std::int64_t begin, std::int64_t end) const { call_(object_, begin, end); }

 private:
  void* object_;
  void (*call_)(void*, std::int64_t, std::int64_t);
};

// Runs body over [0, n) in pieces of `grain` (the last may be shorter), on the calling thread and
// the pool's. Which thread runs a piece is not fixed; the pieces are. One piece, or a call from
// inside another loop's body, runs inline. The first exception a piece throws is rethrown here,
// after all pieces have stopped. Between pieces the calling thread polls the interrupt check.
void parallel_for(std::int64_t n, std::int64_t grain, LoopBody body);

// A number in [0, get_num_threads()) that no other thread of the same loop has.
int thread_index();

}  // namespace cermet::cpu
