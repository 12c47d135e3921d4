// The allocator: what it counts, keeps and uses again, and the limits it starts from.
#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>

#include "eval/memory.h"

using namespace cermet;

namespace {

namespace fs = std::filesystem;

// The files in which Linux describes control groups, in a folder of the test's own.
class Root {
 public:
  Root() {
    std::string name = (fs::temp_directory_path() / "cermet-memory-XXXXXX").string();
    REQUIRE(mkdtemp(name.data()));
    path_ = name;
  }
  ~Root() { fs::remove_all(path_); }
  void write(const std::string& file, const std::string& text) const {
    fs::create_directories((path_ / file).parent_path());
    std::ofstream(path_ / file) << text << "\n";
  }
  std::size_t limit() const { return group_memory_limit(path_); }

 private:
  fs::path path_;
};

constexpr std::size_t kNoLimit = std::numeric_limits<std::size_t>::max();
constexpr std::size_t kMega = std::size_t{1} << 20;

}  // namespace

TEST_CASE("memory: the limit of a control group and of those around it") {
  const Root root;
  CHECK(root.limit() == kNoLimit);
  root.write("proc/self/cgroup", "0::/user/job");
  CHECK(root.limit() == kNoLimit);
  root.write("sys/fs/cgroup/user/job/memory.max", "max");
  CHECK(root.limit() == kNoLimit);
  root.write("sys/fs/cgroup/user/memory.max", "3000000");
  CHECK(root.limit() == 3000000);
  root.write("sys/fs/cgroup/user/job/memory.max", "2000000");
  CHECK(root.limit() == 2000000);
  root.write("sys/fs/cgroup/memory.max", "1000000");  // what a container sees of its own
  CHECK(root.limit() == 1000000);
}

TEST_CASE("memory: the limit of a control group of version 1") {
  const Root root;
  root.write("proc/self/cgroup", "8:pids:/job\n4:hugetlb,memory:/docker/1f2e\n0::/");
  root.write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712");
  CHECK(root.limit() > std::size_t{1} << 60);
  root.write("sys/fs/cgroup/memory/docker/1f2e/memory.limit_in_bytes", "5000000");
  CHECK(root.limit() == 5000000);
  root.write("sys/fs/cgroup/pids/job/memory.limit_in_bytes", "1");
  CHECK(root.limit() == 5000000);
}

TEST_CASE("memory: at first arrays may hold what the system and its groups allow") {
  CHECK(system_memory() > 0);
  CHECK(system_memory() <= group_memory_limit("/"));
  CHECK(get_memory_limit() == system_memory());
}

TEST_CASE("memory: a free block serves a slightly smaller request, and counts are exact") {
  clear_cache();
  const std::size_t before = get_active_memory();
  Ref<Buffer> large = allocate(10 * kMega);
  const void* place = large->data();
  const std::size_t bytes = get_active_memory() - before;
  CHECK(bytes == large->capacity());
  large = {};
  CHECK(get_cache_memory() == bytes);
  Ref<Buffer> near = allocate(9 * kMega);
  CHECK(near->data() == place);
  CHECK(near->bytes() == 9 * kMega);
  CHECK(get_cache_memory() == 0);
  CHECK(get_active_memory() - before == bytes);
  near = {};
  const Ref<Buffer> half = allocate(5 * kMega);  // too little for so large a block
  CHECK(half->data() != place);
  CHECK(get_cache_memory() == bytes);
  CHECK(get_active_memory() - before == half->capacity());
}

TEST_CASE("memory: a growing array leaves a bounded amount of free memory") {
  clear_cache();
  reset_peak_memory();
  const std::size_t before = get_active_memory();
  constexpr std::size_t kRow = kMega / 4;
  constexpr int kSteps = 1000;
  std::size_t most = 0;
  Ref<Buffer> grown = allocate(kRow);
  for (int n = 2; n <= kSteps; ++n) {
    grown = allocate(n * kRow);  // the old one is there while the new one is made
    most = std::max(most, get_cache_memory());
  }
  CHECK(get_peak_memory() - before < 2 * kSteps * kRow * 17 / 16);
  CHECK(most <= 2 * kSteps * kRow);
  grown = {};
  CHECK(get_active_memory() == before);
  clear_cache();
  CHECK(get_cache_memory() == 0);
}

TEST_CASE("memory: what is used again and again is not given back") {
  clear_cache();
  const auto step = [] {  // seven of these at once, of all sizes
    std::vector<Ref<Buffer>> held;
    for (std::size_t n = 1; n < 8; ++n) held.push_back(allocate(n * n * kMega));
    std::vector<const void*> places;
    for (const auto& b : held) places.push_back(b->data());
    return places;
  };
  const auto first = step();
  for (int i = 0; i < 5; ++i) CHECK(step() == first);
}
