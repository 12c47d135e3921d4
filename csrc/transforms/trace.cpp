// Running a function on stand-ins for its inputs.
#include <atomic>
#include <stdexcept>
#include <string>

#include "graph/primitive.h"

namespace cermet {
namespace {

thread_local std::uint64_t innermost = 0;

std::uint64_t next_id() {
  static std::atomic<std::uint64_t> last{0};
  return ++last;
}

// Stands for an input that has no value while the function is traced.
class Placeholder final : public Custom {
 public:
  explicit Placeholder(std::string_view transform) : transform_(transform) {}
  std::string_view name() const override { return "placeholder"; }
  Arrays run(std::span<const array>) const override {
    throw std::invalid_argument(
        transform_ + ": an array was evaluated that depends on an input of the function being " +
        "traced. Inside the function nothing may ask for values; outside, an array that the " +
        "function kept by a side effect has none");
  }

 private:
  std::string transform_;
};

array traced(array a) {
  a.node()->trace = innermost;
  return a;
}

}  // namespace

Tracing::Tracing() : id_(next_id()), outer_(innermost) { innermost = id_; }
Tracing::~Tracing() { innermost = outer_; }
bool is_tracing() { return innermost != 0; }

array make_tracer(const array& a) {
  return traced(
      array(Identity::instance(Identity::Why::tracer), a.shape(), a.dtype(), {a}, a.stream()));
}

array make_placeholder(const Shape& shape, Dtype dtype, std::string_view what) {
  const Stream stream = default_stream(default_device());
  return traced(make_outputs(make_ref<Placeholder>(what), {{shape, dtype}}, {}, stream)[0]);
}

}  // namespace cermet
