// The graph and its transforms with a stub for each thing they ask of the world (graph/context.h).
#include <cstdio>
#include <cstdlib>
#include <stdexcept>

#include "cermet/ops.h"
#include "cermet/transforms.h"
#include "graph/context.h"
#include "graph/primitive.h"

namespace cermet {

Ref<Buffer> context::allocate(std::size_t bytes) {
  return Ref<Buffer>(new Buffer(std::malloc(bytes), bytes, bytes, nullptr));
}
void context::release(void* data, std::size_t) { std::free(data); }
void context::give_back(const Buffer&) {}
void context::evaluate(const Arrays&) { throw std::logic_error("nothing is evaluated here"); }
void context::check_interrupt() {}
Device context::device() { return {}; }
Stream context::stream_of(Device device) { return {device, 0}; }

}  // namespace cermet

using namespace cermet;

namespace {

int failures = 0;
void check(bool condition, const char* what) {
  if (condition) return;
  std::printf("failed: %s\n", what);
  ++failures;
}

}  // namespace

int main() {
  const float values[] = {1, 2, 3, 4, 5, 6};
  const array x(values, {2, 3});
  const auto loss = [](const Arrays& in) { return sum(square(tanh(in[0]))); };
  const array gradient = grad(ScalarFunction(loss))({x})[0];
  check(gradient.shape() == x.shape(), "a gradient has its input's shape");
  check(!gradient.is_available(), "it is lazy");
  check(gradient.primitive()->name() == "multiply", "it is a graph of primitives");
  const Function doubled = compile([](const Arrays& in) { return Arrays{in[0] + in[0]}; });
  check(doubled({x})[0].shape() == x.shape(), "a compiled function replays");
  try {
    gradient.eval();
    check(false, "evaluation is asked of the context");
  } catch (const std::logic_error&) {
  }
  return failures;
}
