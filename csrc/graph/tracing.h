// Runs of traced functions: what stands for their inputs, and which graphs they keep.
#pragma once

#include <cstdint>
#include <string_view>

#include "cermet/array.h"

namespace cermet {

// Marks the run of a traced function by this thread. Until it ends, evaluation by any thread keeps
// the graph of what depends on the function's inputs.
class Tracing {
 public:
  Tracing();
  ~Tracing();
  Tracing(const Tracing&) = delete;
  Tracing& operator=(const Tracing&) = delete;
  // Grows with time, so that no node made before this trace has one as large: a walk that follows
  // only nodes with trace >= id() touches nothing another thread may be evaluating.
  std::uint64_t id() const { return id_; }

 private:
  std::uint64_t id_, outer_;
};
// Whether a trace that has not ended, of whatever thread, may need a node's graph.
bool is_traced(const Node& node);
// A node of the innermost trace that has the value of `a`.
array make_tracer(const array& a);
// A node of the innermost trace that has no value: to evaluate it is an error. `what` names the
// transform.
array make_placeholder(const Shape& shape, Dtype dtype, std::string_view what);

}  // namespace cermet
