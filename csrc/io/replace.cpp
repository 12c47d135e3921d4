// Writing: a new file beside the old one, which it replaces when it is whole and on the disk.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <utility>

#include "cermet/io.h"
#include "graph/context.h"

namespace cermet {
namespace {

class Replacement {
 public:
  Replacement(const char* operation, const std::string& path)
      : operation_(operation), path_(path) {}
  ~Replacement() {
    if (descriptor_ >= 0) ::close(descriptor_);
    if (!beside_.empty()) ::unlink(beside_.c_str());
  }
  Replacement(const Replacement&) = delete;
  Replacement& operator=(const Replacement&) = delete;

  void open() {
    follow_links();
    struct stat old{};
    const bool exists = ::stat(target_.c_str(), &old) == 0;
    if (!exists && errno != ENOENT) fail();
    if (exists && !S_ISREG(old.st_mode)) return open_straight();
    // To replace needs no leave of the file itself, to overwrite it would.
    if (exists && ::access(target_.c_str(), W_OK) != 0) fail();
    open_beside();
    if (!exists) return;
    if (::fchown(descriptor_, old.st_uid, old.st_gid) != 0 && errno != EPERM) fail();
    if (::fchmod(descriptor_, old.st_mode & 07777) != 0) fail();
  }

  void write(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      context::check_interrupt();
      const ssize_t n = ::write(descriptor_, bytes.data(), std::min(bytes.size(), kPiece));
      if (n < 0 && errno == EINTR) {
        pause_for_signals();
        continue;
      }
      if (n < 0) fail();
      bytes = bytes.subspan(static_cast<std::size_t>(n));
    }
  }

  void finish() {
    if (!beside_.empty()) sync(descriptor_);
    if (::close(std::exchange(descriptor_, -1)) != 0) fail();
    if (beside_.empty()) return;
    if (::rename(beside_.c_str(), target_.c_str()) != 0) fail();
    beside_.clear();
    // The new name, too, is to be there after a crash.
    descriptor_ = ::open(folder().c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor_ >= 0)
      sync(descriptor_);
    else if (errno != EACCES)
      fail();
  }

 private:
  static constexpr std::size_t kPiece = 1 << 24;

  [[noreturn]] void fail() const { throw FileError(operation_, path_, errno); }
  void pause_for_signals() const {
    constexpr timespec kLongerThanBetweenChecks{0, 25000000};
    ::nanosleep(&kLongerThanBetweenChecks, nullptr);
    context::check_interrupt();
  }
  std::string folder() const {
    const std::string parent = std::filesystem::path(target_).parent_path().string();
    return parent.empty() ? "." : parent;
  }

  void follow_links() {
    namespace fs = std::filesystem;
    fs::path target = path_;
    std::error_code error;
    for (int links = 0; fs::is_symlink(fs::symlink_status(target, error)); ++links) {
      if (links == 40) throw FileError(operation_, path_, ELOOP);
      const fs::path to = fs::read_symlink(target, error);
      if (error) throw FileError(operation_, path_, error.value());
      target = target.parent_path() / to;  // an absolute one stands alone
    }
    target_ = target.string();
  }

  void open_straight() {
    while ((descriptor_ = ::open(target_.c_str(), O_WRONLY | O_CLOEXEC)) < 0) {
      if (errno != EINTR) fail();
      pause_for_signals();
    }
  }
  void open_beside() {
    const std::string start = folder() + "/.cermet-" + std::to_string(::getpid()) + "-";
    for (int number = 0; descriptor_ < 0; ++number) {
      std::string name = start + std::to_string(number) + ".part";
      descriptor_ = ::open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
      if (descriptor_ >= 0)
        beside_ = std::move(name);
      else if (errno != EEXIST && errno != EINTR)
        fail();
    }
  }

  void sync(int descriptor) const {
#ifdef __APPLE__
    if (::fcntl(descriptor, F_FULLFSYNC) == 0) return;
#endif
    // Some file systems cannot.
    if (::fsync(descriptor) != 0 && errno != EINVAL && errno != ENOTSUP) fail();
  }

  const char* const operation_;
  const std::string path_;  // as it was given
  std::string target_;      // links followed
  std::string beside_;      // while there is a file of this name
  int descriptor_ = -1;
};

}  // namespace

void replace_file(const char* operation, const std::string& path,
                  const std::function<void(const Sink&)>& write) {
  Replacement file(operation, path);
  file.open();
  write([&](std::span<const std::byte> bytes) { file.write(bytes); });
  file.finish();
}

}  // namespace cermet
