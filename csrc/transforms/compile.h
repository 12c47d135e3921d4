// Compiled functions: traced once for each kind of input, then replayed.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "cermet/transforms.h"
#include "graph/lru_map.h"

namespace cermet {

// What a function gave when it was traced. `extra` is the caller's own (the structure of the
// outputs, say) and comes back with every replay.
struct Traced {
  Arrays outputs;
  std::shared_ptr<const void> extra;
};
using TraceFunction = std::function<Traced(const Arrays&)>;

class Trace;

// How many traces of a function are kept: those used last.
inline constexpr std::size_t kMaxTraces = 256;

// A cache of traces. Arrays that a function captures stay in the trace as they were; state that
// changes is passed as further inputs and outputs.
class CompiledFunction {
 public:
  explicit CompiledFunction(bool shapeless = false) : shapeless_(shapeless) {}
  // Runs `fun` on stand-ins unless a trace for such inputs and this `key` is there (the key tells
  // apart calls that differ in more than arrays), and applies the trace to the inputs.
  Traced operator()(const TraceFunction& fun, const Arrays& inputs, std::string_view key = {});

 private:
  std::shared_ptr<const Trace> trace(const TraceFunction& fun, const Arrays& inputs,
                                     const std::string& key);
  const bool shapeless_;
  std::mutex mutex_;
  LruMap<std::string, std::shared_ptr<const Trace>> traces_{kMaxTraces};
};

}  // namespace cermet
