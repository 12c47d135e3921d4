// Row programs as a backend sees them.
#include <doctest/doctest.h>

#include <cstring>
#include <numeric>
#include <vector>

#include "cermet/cermet.h"
#include "eval/batch.h"

using namespace cermet;

TEST_CASE("a plan, and the kernel made of it, serve all extents of a class") {
  Backend& cpu = host_backend();
  std::shared_ptr<const Plan> plan;
  std::shared_ptr<const Kernel> kernel;
  LayoutClass layout;
  for (const std::int64_t n : {4500, 9001, 4097}) {  // longer than a block
    std::vector<float> x(3 * n);
    std::iota(x.begin(), x.end(), -1000.0f);
    const array source(borrow(x.data(), x.size() * sizeof(float), {}), {3, n}, float32);
    const array y = sum(square(source, DeviceType::cpu), {1}, false, DeviceType::cpu);
    const std::vector<float> want =
        sum(square(source, DeviceType::cpu), {1}, false, DeviceType::cpu).to_vector<float>();
    const std::scoped_lock lock(graph_mutex());
    const Tape tape = record({y}, limits_of);
    const auto found = plan_of(tape, limits_of);
    if (!plan) plan = found;
    REQUIRE(found == plan);
    REQUIRE(plan->steps.size() == 1);
    const ProgramRun run = bind(*plan->steps[0].program, tape.nodes.data(), nullptr);
    if (!kernel) {
      kernel = cpu.prepare(run);
      layout = cpu.classify(run);
    }
    REQUIRE(cpu.classify(run) == layout);
    Node& out = *run.outputs[0].node;
    out.buffer = allocate(3 * sizeof(float));
    cpu.queue(out.stream)->run(*kernel, run);
    CHECK(std::memcmp(want.data(), out.buffer->data(), 3 * sizeof(float)) == 0);
  }
}
