// The simulated Metal device: the order of its work, events, errors, and what its sanitizer sees
// between dispatches. Skipped where there is no compiler (CERMET_ZIG names it).
#include <doctest/doctest.h>

#include <future>
#include <memory>
#include <string>
#include <vector>

#include "metal/simulator/compile.h"
#include "metal/simulator/simulator.h"

using namespace cermet::metal;
using namespace cermet::metal::simulator;

namespace {

constexpr std::uint32_t kSize = 64;
constexpr std::size_t kBytes = kSize * sizeof(float);

constexpr char kSource[] = R"(
#include <metal_stdlib>
using namespace metal;
kernel void add(device float* x [[buffer(0)]], constant float& y [[buffer(1)]],
                uint i [[thread_position_in_grid]]) { x[i] += y; }
kernel void twice(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { x[i] *= 2; }
kernel void fill_half(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  if (i < 32) x[i] = 1;
}
)";

// A device with an array of ones, and the kernels.
struct Machine {
  std::unique_ptr<Device> device = make_device();
  std::shared_ptr<Library> library = device->library(kSource, "device.metal");
  std::shared_ptr<Pipeline> add = library->pipeline("add", {});
  std::shared_ptr<Pipeline> twice = library->pipeline("twice", {});
  std::shared_ptr<Pipeline> fill_half = library->pipeline("fill_half", {});
  std::vector<float> x = std::vector<float>(kSize, 1.0F);
  std::shared_ptr<Memory> memory = device->wrap(x.data(), kBytes);
  std::unique_ptr<Queue> queue = device->queue();

  ~Machine() { set_options({}); }
  std::unique_ptr<CommandBuffer> commands(Access access = Access::read_write) {
    auto buffer = queue->command_buffer();
    buffer->set_buffer(0, *memory, 0, kBytes, access);
    return buffer;
  }
  void encode_add(CommandBuffer& buffer, float y) const {
    buffer.set_pipeline(*add);
    buffer.set_bytes(1, &y, sizeof y);
    buffer.dispatch_threads({kSize}, {32});
  }
  void encode(CommandBuffer& buffer, const Pipeline& pipeline) const {
    buffer.set_pipeline(pipeline);
    buffer.dispatch_threads({kSize}, {32});
  }
};

// Commits and waits. Empty, or what went wrong.
std::string run(CommandBuffer& buffer) {
  const auto result = std::make_shared<std::promise<std::string>>();
  buffer.commit([result](const Completion& end) {
    try {
      if (end.error) std::rethrow_exception(end.error);
      result->set_value("");
    } catch (const std::exception& e) {
      result->set_value(e.what());
    }
  });
  return result->get_future().get();
}

bool contains(const std::string& text, const char* part) {
  return text.find(part) != std::string::npos;
}

#define SKIP_WITHOUT_COMPILER()      \
  if (!compiler_available()) {       \
    MESSAGE("there is no compiler"); \
    return;                          \
  }

}  // namespace

TEST_CASE("simulated device: arguments keep their values and dispatches their order") {
  SKIP_WITHOUT_COMPILER();
  Machine m;
  auto buffer = m.commands();
  m.encode_add(*buffer, 2);
  buffer->barrier();
  m.encode(*buffer, *m.twice);
  buffer->barrier();
  m.encode_add(*buffer, 10);
  CHECK(run(*buffer) == "");
  CHECK(m.x == std::vector<float>(kSize, 16));
  CHECK(m.device->counters().dispatches == 3);
  CHECK(m.device->counters().threads == 3 * kSize);
  m.device->reset_counters();
  CHECK(m.device->counters().dispatches == 0);
}

TEST_CASE("simulated device: a queue waits for an event that another one or the CPU signals") {
  SKIP_WITHOUT_COMPILER();
  Machine m;
  const auto begin = m.device->event(), middle = m.device->event();
  const auto other = m.device->queue();
  auto second = m.commands();
  second->wait(*middle, 7);
  m.encode_add(*second, 1);
  const auto done = m.device->event();
  second->commit([done](const Completion&) { done->signal(1); });

  auto first = other->command_buffer();
  first->wait(*begin, 1);
  first->set_buffer(0, *m.memory, 0, kBytes, Access::read_write);
  m.encode(*first, *m.twice);
  first->signal(*middle, 7);
  first->commit([](const Completion&) {});
  CHECK_FALSE(middle->wait(7, 20));
  begin->signal(1);
  CHECK(done->wait(1, 10000));
  CHECK(middle->value() == 7);
  CHECK(m.x == std::vector<float>(kSize, 3));
}

TEST_CASE(
    "simulated device: an error reaches its command buffer alone, whose signals are the CPU's") {
  SKIP_WITHOUT_COMPILER();
  Machine m;
  const auto event = m.device->event();
  auto bad = m.queue->command_buffer();  // nothing is bound
  m.encode(*bad, *m.twice);
  bad->signal(*event, 1);
  auto good = m.commands();
  m.encode(*good, *m.twice);
  CHECK(run(*bad) == "kernel twice: nothing is bound to buffer 0");
  CHECK(event->value() == 0);
  CHECK(run(*good) == "");
  CHECK(m.x == std::vector<float>(kSize, 2));
}

TEST_CASE("simulated device: what cannot be encoded") {
  SKIP_WITHOUT_COMPILER();
  Machine m;
  auto buffer = m.commands();
  const std::vector<char> large(kMaxBytesArgument);
  CHECK_THROWS_AS(buffer->set_bytes(1, large.data(), large.size()), std::invalid_argument);
  CHECK_THROWS_AS(buffer->set_bytes(31, large.data(), 4), std::invalid_argument);
  CHECK_THROWS_AS(buffer->set_buffer(0, *m.memory, 8, kBytes, Access::read), std::invalid_argument);
  CHECK_THROWS_AS(buffer->dispatch_threads({1}, {1}), std::invalid_argument);
  CHECK_THROWS_AS(m.library->pipeline("none", {}), std::invalid_argument);
}

TEST_CASE("simulated device: the sanitizer sees a barrier missing between dispatches") {
  SKIP_WITHOUT_COMPILER();
  Machine m;
  set_options({.sanitize = true});
  for (const bool barrier : {false, true}) {
    auto buffer = m.commands();
    m.encode_add(*buffer, 2);
    if (barrier) buffer->barrier();
    m.encode(*buffer, *m.twice);
    const std::string error = run(*buffer);
    CHECK(contains(error, "data race") == !barrier);
    CHECK(contains(error, "kernel add") == !barrier);
    CHECK(contains(error, "kernel twice") == !barrier);
  }
}

TEST_CASE("simulated device: shuffling changes the results of dispatches without a barrier") {
  SKIP_WITHOUT_COMPILER();
  Machine m;
  for (const bool barrier : {false, true}) {
    int sum_first = 0;
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
      set_options({.shuffle = true, .seed = seed});
      std::fill(m.x.begin(), m.x.end(), 1.0F);
      auto buffer = m.commands();
      m.encode_add(*buffer, 2);
      if (barrier) buffer->barrier();
      m.encode(*buffer, *m.twice);
      CHECK(run(*buffer) == "");
      sum_first += m.x[0] == 6;
    }
    CHECK((sum_first == 20) == barrier);
  }
}

TEST_CASE("simulated device: undefined memory may be written, and read where it was") {
  SKIP_WITHOUT_COMPILER();
  Machine m;
  set_options({.sanitize = true});
  const auto read_after = [&](const Pipeline* writer) {
    auto buffer = m.commands();
    buffer->declare_undefined(*m.memory, 0, kBytes);
    if (writer) m.encode(*buffer, *writer);
    buffer->barrier();
    m.encode(*buffer, *m.twice);
    return run(*buffer);
  };
  CHECK(contains(read_after(nullptr), "uninitialised read of 4 bytes at byte 0 of buffer 0"));
  CHECK(contains(read_after(m.fill_half.get()),
                 "uninitialised read of 4 bytes at byte 128 of buffer 0"));
  declare_defined(m.x.data(), kBytes);
  auto buffer = m.commands();
  m.encode(*buffer, *m.twice);
  CHECK(run(*buffer) == "");
}

TEST_CASE("simulated device: what is bound to be read is not written") {
  SKIP_WITHOUT_COMPILER();
  Machine m;
  set_options({.sanitize = true});
  auto buffer = m.commands(Access::read);
  m.encode(*buffer, *m.twice);
  CHECK(contains(run(*buffer), "to read-only memory at byte 0 of buffer 0"));
  CHECK(m.x == std::vector<float>(kSize, 1));
}
