// Kernels by their source: what is known of one before it is compiled, and compiling several at
// once.
#pragma once

#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "graph/lru_map.h"
#include "metal/backend.h"

namespace cermet::metal {

// What a kernel is compiled from, and its pipeline, which is made when it is first needed.
struct KernelSource {
  std::string name;
  std::vector<std::string> files;  // embedded files whose text goes before `text`
  std::string text;
  std::vector<Constant> constants;
  bool alone = false;  // in a library of its own: a user's kernel, whose errors concern no other

  // Belong to the cache, under its mutex until `pipeline` is set.
  std::shared_ptr<Pipeline> pipeline = nullptr;
  std::exception_ptr error = nullptr;  // of the last attempt
  bool building = false;
};

// The kernels of a device that were used last. Kernels in use live on without it.
class KernelCache {
 public:
  KernelCache(Device& device, std::size_t capacity) : device_(device), kernels_(capacity) {}

  // The kernel that a key stands for; `make()` gives its source when it is not there. A key holds
  // all that the source depends on.
  template <class Make>
  Kernel find(std::string key, const Make& make) {
    const std::scoped_lock lock(mutex_);
    if (const Kernel* found = kernels_.find(key)) return *found;
    return kernels_.insert(std::move(key), Kernel{std::make_shared<KernelSource>(make())});
  }
  // Compiles what is not compiled yet, in one library where that is possible. Gives each kernel its
  // error, or null. Another thread's kernels compile at the same time.
  std::vector<std::exception_ptr> compile(std::span<const Kernel> kernels);

  struct Counts {
    std::uint64_t kept = 0, dropped = 0, compiled = 0;
  };
  Counts counts();

 private:
  struct Outcome {
    std::shared_ptr<Pipeline> pipeline;
    std::exception_ptr error;
  };
  std::vector<Outcome> build(std::span<KernelSource* const> kernels);

  Device& device_;
  std::mutex mutex_;
  std::condition_variable built_;
  LruMap<std::string, Kernel> kernels_;
  std::uint64_t compiled_ = 0;
};
// Those of device().
KernelCache& kernel_cache();

// A user's kernel: compiled at once. `text` is all but metal/kernel.h. Throws CompileError.
Kernel custom_kernel(const std::string& name, const std::string& text);

// The text of an embedded file of metal/ with its includes in place, each file once. `seen` has the
// files that stand before it.
std::string flatten(const std::string& file, std::vector<std::string>& seen);
// The texts of all files of metal/, by name.
const std::vector<std::pair<std::string_view, std::string_view>>& embedded_files();

}  // namespace cermet::metal
