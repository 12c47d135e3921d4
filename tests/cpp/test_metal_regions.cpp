// Regions of memory over a device that only notes what it is told to keep.
#include <doctest/doctest.h>

#include <set>

#include "metal/regions.h"

using namespace cermet;
using namespace cermet::metal;

namespace {

struct FakeMemory final : Memory {
  explicit FakeMemory(void* data) : data(data) {}
  void* data;
};

struct FakeDevice final : Device {
  std::string name() const override { return "fake"; }
  std::string architecture() const override { return "fake"; }
  bool simulated() const override { return true; }
  std::size_t memory_size() const override { return 100; }
  std::size_t max_buffer_size() const override { return 100; }
  std::shared_ptr<Memory> wrap(void* data, std::size_t) override {
    ++mapped;
    return std::make_shared<FakeMemory>(data);
  }
  void set_resident(Memory& memory, bool keep) override {
    void* data = static_cast<FakeMemory&>(memory).data;
    if (keep)
      resident.insert(data);
    else
      resident.erase(data);
  }
  std::shared_ptr<Library> library(const std::string&, const std::string&) override {
    return nullptr;
  }
  std::unique_ptr<Queue> queue() override { return nullptr; }
  std::shared_ptr<Event> event() override { return nullptr; }
  void start_capture(const std::string&) override {}
  void stop_capture() override {}

  int mapped = 0;
  std::set<void*> resident;
};

}  // namespace

TEST_CASE("regions: the wired limit keeps memory of so many bytes resident") {
  FakeDevice device;
  Regions regions(device);
  char memory[4];
  const auto map = [&](int i, std::size_t bytes) { regions.map({memory + i, bytes, memory + i}); };
  map(0, 10);
  CHECK(device.resident.empty());
  CHECK(regions.set_wired_limit(25) == 0);
  CHECK(device.resident == std::set<void*>{memory});
  map(1, 10);
  map(2, 10);
  map(1, 10);
  CHECK(device.mapped == 3);
  CHECK(device.resident == std::set<void*>{memory, memory + 1});
  regions.forget(memory);
  CHECK(device.resident == std::set<void*>{memory + 1});
  map(3, 15);
  CHECK(device.resident == std::set<void*>{memory + 1, memory + 3});
  CHECK(regions.set_wired_limit(10) == 25);
  CHECK(device.resident.size() == 1);
  CHECK(regions.set_wired_limit(0) == 10);
  CHECK(device.resident.empty());
  const int one = 0, other = 0;  // two that have borrowed the same memory
  for (const int* key : {&one, &other, &one}) regions.map({memory, 10, key});
  CHECK(device.mapped == 6);
  regions.forget(&one);
  for (const int* key : {&one, &other}) regions.map({memory, 10, key});
  CHECK(device.mapped == 7);
}
