// Running a function on stand-ins for its inputs.
#include <algorithm>
#include <atomic>
#include <stdexcept>
#include <string>

#include "graph/follow.h"
#include "graph/fork.h"
#include "graph/primitives/custom.h"
#include "graph/primitives/views.h"
#include "graph/tracing.h"

namespace cermet {
namespace {

thread_local std::uint64_t innermost = 0;

// The traces that have not ended, of all threads: as many as transforms are nested, a thread. Under
// Lock::running.
struct Running {
  std::uint64_t last = 0;
  std::vector<std::uint64_t> ids;
  std::atomic<std::size_t> count{0};  // of ids, for those who need not know more
};
Running& running() {
  static Running* const it = new Running;  // threads may outlive static objects
  return *it;
}

std::uint64_t begin_trace() {
  Running& r = running();
  const std::scoped_lock lock(mutex_of(Lock::running));
  r.ids.push_back(++r.last);
  r.count.store(r.ids.size(), std::memory_order_release);
  return r.last;
}

void end_trace(std::uint64_t id) {
  Running& r = running();
  const std::scoped_lock lock(mutex_of(Lock::running));
  std::erase(r.ids, id);
  r.count.store(r.ids.size(), std::memory_order_release);
}

// Stands for an input that has no value while the function is traced.
class Placeholder final : public Custom {
 public:
  explicit Placeholder(std::string_view transform) : transform_(transform) {}
  std::string_view name() const override { return "placeholder"; }
  Arrays run(std::span<const array>) const override {
    throw std::invalid_argument(
        transform_ + ": an array was evaluated that depends on an input of the function being " +
        "traced. Nothing may ask for values during function transformations; outside, an array " +
        "that the function kept by a side effect has none");
  }

 private:
  std::string transform_;
};

array traced(array a) {
  Node& node = *a.node();
  if (node.trace == 0) node.oldest_trace = innermost;
  node.trace = innermost;
  return a;
}

}  // namespace

Tracing::Tracing() : id_(begin_trace()), outer_(innermost) { innermost = id_; }
Tracing::~Tracing() {
  innermost = outer_;
  end_trace(id_);
}

bool is_traced(const Node& node) {
  const std::uint64_t newest = node.trace;
  Running& r = running();
  if (newest == 0 || r.count.load(std::memory_order_acquire) == 0) return false;
  const std::uint64_t oldest = node.oldest_trace;
  const std::scoped_lock lock(mutex_of(Lock::running));
  return std::any_of(r.ids.begin(), r.ids.end(),
                     [&](std::uint64_t id) { return oldest <= id && id <= newest; });
}

bool is_traced(const array& a) { return is_traced(*a.node()); }

array make_tracer(const array& a) {
  return traced(
      array(Identity::instance(Identity::Why::tracer), rule_shape(a), a.dtype(), {a}, a.stream()));
}

array make_placeholder(const Shape& shape, Dtype dtype, std::string_view what) {
  const Stream stream = default_stream(default_device());
  return traced(make_outputs(make_ref<Placeholder>(what), {{shape, dtype}}, {}, stream)[0]);
}

}  // namespace cermet
