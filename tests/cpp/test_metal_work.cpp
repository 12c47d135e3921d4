// A stream's work on the GPU: which steps an error belongs to. A program of its own, since it
// chooses the device. Skipped where there is none, or no compiler (CERMET_ZIG names it).
#include <doctest/doctest.h>

#include <cstdlib>
#include <set>

#ifndef __APPLE__
#include "metal/simulator/simulator.h"
#endif
#include "metal/program.h"
#include "metal/work.h"

using namespace cermet;
using namespace cermet::metal;

namespace {

bool is_available() {
#ifdef __APPLE__
  return device() != nullptr;
#else
  setenv("CERMET_METAL", "simulator", 1);
  simulator::set_options({.sanitize = true});
  return simulator::compiler_available();
#endif
}

constexpr std::uint32_t kSize = 64;

// A kernel that adds one to each element of an array.
metal::Kernel add_one(const std::string& name, const std::string& body) {
  ProgramKernel k;
  k.name = name;
  k.text = "[[kernel]] void " + name +
           "(device const float* in, device float* out, uint i [[thread_position_in_grid]]) {" +
           body + "}\n";
  return kernel(k);
}

}  // namespace

TEST_CASE("work: a kernel that does not compile fails its step and those that read its results") {
  if (!is_available()) {
    MESSAGE("there is no device, or no compiler");
    return;
  }
  const metal::Kernel good = add_one("good", "out[i] = in[i] + 1;");
  const metal::Kernel bad = add_one("bad", "out[i] = nothing;");
  Work work(default_stream({DeviceType::gpu, 0}));
  std::vector<Tensor> values;
  for (int i = 0; i < 6; ++i) values.push_back(work.temporary({kSize}, float32));
  float* first = static_cast<float*>(values[0].buffer->data());
  std::fill(first, first + kSize, 0.0F);
  std::vector<std::shared_ptr<Ticket>> steps;
  const auto run = [&](const metal::Kernel& kernel, int from, int to) {
    steps.push_back(work.begin());
    work.threads(kernel, {in(values[from]), out(values[to])}, {kSize}, {32});
  };
  run(good, 0, 1);
  run(bad, 1, 2);
  run(good, 1, 3);
  run(good, 2, 4);  // reads what is not there
  SUBCASE("in one command buffer") {}
  SUBCASE("in several") { work.flush(); }
  run(good, 4, 5);
  run(good, 3, 2);  // writes what was not written
  run(good, 2, 0);
  std::set<std::size_t> failed;
  for (std::size_t i = 0; i < steps.size(); ++i)
    if (const auto error = steps[i]->wait()) {
      failed.insert(i);
      CHECK_THROWS_AS(std::rethrow_exception(error), CompileError);
    }
  CHECK(failed == std::set<std::size_t>{1, 3, 4});
  CHECK(first[kSize - 1] == 4);
  run(good, 0, 4);
  CHECK(steps.back()->wait() == nullptr);
}
