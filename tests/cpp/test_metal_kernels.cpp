// The cache of GPU kernels, over a device that compiles nothing: what it compares, keeps and
// compiles together, and what waits for what.
#include <doctest/doctest.h>

#include <future>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "metal/library.h"

using namespace cermet::metal;

namespace {

struct FakePipeline final : Pipeline {
  explicit FakePipeline(std::string name) : name(std::move(name)) {}
  int max_threads() const override { return 1; }
  std::string name;
};
struct FakeLibrary final : Library {
  std::shared_ptr<Pipeline> pipeline(std::string_view name, std::span<const Constant>) override {
    return std::make_shared<FakePipeline>(std::string(name));
  }
};

// Counts sources. One with "bad" in it is an error, one with "slow" waits for `released`.
struct FakeDevice final : Device {
  std::string name() const override { return "fake"; }
  std::string architecture() const override { return "fake"; }
  bool simulated() const override { return true; }
  std::size_t memory_size() const override { return 0; }
  std::size_t max_buffer_size() const override { return 0; }
  std::shared_ptr<Memory> wrap(void*, std::size_t) override { return nullptr; }
  std::shared_ptr<Library> library(const std::string& source, const std::string&) override {
    {
      const std::scoped_lock lock(mutex);
      sources.push_back(source);
    }
    if (source.find("slow") != std::string::npos) {
      started.set_value();
      released.get_future().wait();
    }
    if (source.find("bad") != std::string::npos) throw CompileError("bad");
    return std::make_shared<FakeLibrary>();
  }
  std::unique_ptr<Queue> queue() override { return nullptr; }
  std::shared_ptr<Event> event() override { return nullptr; }
  void start_capture(const std::string&) override {}
  void stop_capture() override {}

  std::mutex mutex;
  std::vector<std::string> sources;
  std::promise<void> started, released;
};

struct Machine {
  FakeDevice device;
  KernelCache cache{device, 4};
  Kernel find(const std::string& text, const std::string& name = "f") {
    return cache.find(text, [&] { return KernelSource{name, {}, text, {}}; });
  }
  std::size_t failures(const std::vector<Kernel>& kernels) {
    std::size_t n = 0;
    for (const auto& error : cache.compile(kernels)) n += error != nullptr;
    return n;
  }
};

}  // namespace

TEST_CASE("kernels: what is needed together compiles together, once") {
  Machine m;
  const std::vector<Kernel> kernels = {m.find("a", "a"), m.find("b", "b"), m.find("a", "a")};
  CHECK(kernels[0].source == kernels[2].source);
  CHECK(m.failures(kernels) == 0);
  CHECK(m.failures(kernels) == 0);
  CHECK(m.device.sources.size() == 1);
  CHECK(m.cache.counts().compiled == 2);
}

TEST_CASE("kernels: texts of one name are different kernels") {
  Machine m;
  const std::vector<Kernel> kernels = {m.find("one"), m.find("other")};
  CHECK(kernels[0].source != kernels[1].source);
  CHECK(m.failures(kernels) == 0);
  REQUIRE(m.device.sources.size() == 2);  // a source has a name once
  CHECK(kernels[0].source->pipeline != kernels[1].source->pipeline);
}

TEST_CASE("kernels: those used last are kept, and those in use") {
  Machine m;
  const Kernel first = m.find("0"), second = m.find("1");
  for (int i = 2; i < 5; ++i) {
    m.find("0");
    m.find(std::to_string(i));
  }
  CHECK(m.cache.counts().kept == 4);
  CHECK(m.cache.counts().dropped == 1);
  CHECK(m.find("0").source == first.source);
  CHECK(m.find("1").source != second.source);
  CHECK(m.failures({second}) == 0);
}

TEST_CASE("kernels: one that does not compile fails alone") {
  Machine m;
  const std::vector<Kernel> kernels = {m.find("a", "a"), m.find("bad", "b"), m.find("c", "c")};
  const auto errors = m.cache.compile(kernels);
  CHECK_FALSE(errors[0]);
  CHECK_THROWS_AS(std::rethrow_exception(errors[1]), CompileError);
  CHECK_FALSE(errors[2]);
  CHECK(m.failures({kernels[0], kernels[2]}) == 0);
  CHECK(m.failures({kernels[1]}) == 1);
}

TEST_CASE("kernels: nobody waits for what another thread compiles but who needs it") {
  Machine m;
  const Kernel slow = m.find("slow", "slow");
  auto compiling = std::async(std::launch::async, [&] { return m.failures({slow}); });
  m.device.started.get_future().wait();
  auto waiting = std::async(std::launch::async, [&] { return m.failures({slow}); });
  CHECK(m.failures({m.find("quick", "quick")}) == 0);
  CHECK_FALSE(slow.source->pipeline);
  m.device.released.set_value();
  CHECK(compiling.get() == 0);
  CHECK(waiting.get() == 0);
  CHECK(m.device.sources.size() == 2);
}
