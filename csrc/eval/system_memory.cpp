// How much memory this process may have: the machine's, or what its control group (a container)
// allows.
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>

#include "eval/memory.h"

namespace cermet {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kNone = std::numeric_limits<std::size_t>::max();

// A file with a number, or with "max" or nothing that is one.
std::size_t read_limit(const fs::path& file) {
  std::ifstream in(file);
  std::size_t limit = 0;
  return in >> limit ? limit : kNone;
}

// The least limit from a group up to the hierarchy's root. Groups that this process does not see
// (their names are those outside of a container) have no file.
std::size_t least_limit(const fs::path& root, std::string group, const char* file) {
  std::size_t least = read_limit(root / file);
  for (; group.size() > 1; group.erase(group.rfind('/')))
    least = std::min(least, read_limit(root / group.substr(1) / file));
  return least;
}

}  // namespace

std::size_t group_memory_limit(const fs::path& root) {
  std::size_t least = kNone;
  std::ifstream groups(root / "proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {  // number:controllers:/group
    const std::size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == line.npos || line.compare(second + 1, 1, "/") != 0) continue;
    const std::string controllers =
        std::string(",").append(line, first + 1, second - first - 1).append(",");
    const std::string group = line.substr(second + 1);
    if (controllers == ",,")  // version 2
      least = std::min(least, least_limit(root / "sys/fs/cgroup", group, "memory.max"));
    else if (controllers.find(",memory,") != controllers.npos)
      least = std::min(least,
                       least_limit(root / "sys/fs/cgroup/memory", group, "memory.limit_in_bytes"));
  }
  return least;
}

std::size_t system_memory() {
  const auto machine = static_cast<std::size_t>(sysconf(_SC_PHYS_PAGES)) *
                       static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  return std::min(machine, group_memory_limit("/"));
}

}  // namespace cermet
