#include "io/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <vector>

namespace cermet::io {

void fail(const char* operation, const std::string& file, const std::string& what) {
  throw std::runtime_error(std::string(operation) + ": " + file + ": " + what);
}

namespace {

struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

}  // namespace

Ref<Buffer> map_file(const char* operation, const std::string& path) {
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  struct stat info{};
  if (file.fd < 0 || ::fstat(file.fd, &info) != 0) fail(operation, path, std::strerror(errno));
  if (!S_ISREG(info.st_mode)) fail(operation, path, "not a regular file");
  const auto bytes = static_cast<std::size_t>(info.st_size);
  if (bytes == 0) return allocate(0);
  // Private and writable, so that a value taken from the file may be overwritten in place.
  void* data = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, file.fd, 0);
  if (data == MAP_FAILED) fail(operation, path, std::strerror(errno));
  return borrow(data, bytes, [data, bytes] { ::munmap(data, bytes); });
}

Ref<Buffer> read_all(std::istream& in) {
  std::vector<char> bytes{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  Ref<Buffer> buffer = allocate(bytes.size());
  if (!bytes.empty()) std::memcpy(buffer->data(), bytes.data(), bytes.size());
  return buffer;
}

}  // namespace cermet::io
