// Reading: files that stay open, and the lazy arrays that read from them.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>

#include "cermet/ops.h"
#include "graph/context.h"
#include "graph/primitives/creation.h"
#include "io/stored.h"

namespace cermet {
namespace {

std::string in_words(int code, const std::string& what) {
  const std::string system = std::generic_category().message(code);
  return what.empty() ? system : what + " (" + system + ")";
}

// What tells a file from what it becomes when somebody writes into it.
struct Stamp {
  std::uint64_t size;
  timespec modified;
  bool operator==(const Stamp& o) const {
    return size == o.size && modified.tv_sec == o.modified.tv_sec &&
           modified.tv_nsec == o.modified.tv_nsec;
  }
};

// The clock that a change of a file gets its time from.
#ifdef __APPLE__
constexpr clockid_t kFileClock = CLOCK_REALTIME;
timespec modified(const struct stat& info) { return info.st_mtimespec; }
#else
constexpr clockid_t kFileClock = CLOCK_REALTIME_COARSE;
timespec modified(const struct stat& info) { return info.st_mtim; }
#endif
bool is_now(const timespec& time) {
  timespec now{};
  ::clock_gettime(kFileClock, &now);
  return time.tv_sec == now.tv_sec && time.tv_nsec == now.tv_nsec;
}

class File final : public Source {
 public:
  File(std::string operation, const std::string& path, int descriptor, const Stamp& stamp)
      : Source(path, stamp.size),
        operation_(std::move(operation)),
        descriptor_(descriptor),
        stamp_(stamp) {}
  ~File() override { ::close(descriptor_); }

  void read(std::uint64_t begin, std::span<std::byte> out, const char* part) const override {
    while (!out.empty()) {
      const std::size_t step = std::min(out.size(), std::size_t{1} << 30);
      const ssize_t got = ::pread(descriptor_, out.data(), step, static_cast<off_t>(begin));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) throw FileError(operation_, name, errno, part);
      if (got == 0) break;
      begin += static_cast<std::uint64_t>(got);
      out = out.subspan(static_cast<std::size_t>(got));
    }
    // Looked at afterwards, so that nothing written meanwhile passes for what was loaded.
    const Stamp now = stamp_of(operation_, name, descriptor_);
    if (out.empty() && now == stamp_) return;
    throw FileError(operation_, name, ESTALE,
                    std::string(part) + (*part ? ": " : "") +
                        "the file has changed since it was loaded: " + std::to_string(now.size) +
                        " bytes, " + std::to_string(stamp_.size) + " expected");
  }
  bool stays() const override { return true; }

  static Stamp stamp_of(const std::string& operation, const std::string& path, int descriptor) {
    struct stat info{};
    if (::fstat(descriptor, &info) != 0) throw FileError(operation, path, errno);
    if (S_ISDIR(info.st_mode)) throw FileError(operation, path, EISDIR);
    if (!S_ISREG(info.st_mode)) io::fail(operation.c_str(), path, "not a regular file");
    return {static_cast<std::uint64_t>(info.st_size), modified(info)};
  }

 private:
  const std::string operation_;
  const int descriptor_;
  const Stamp stamp_;
};

class Memory final : public Source {
 public:
  Memory(std::span<const std::byte> bytes, std::string name)
      : Source(std::move(name), bytes.size()), bytes_(bytes) {}
  Memory(std::vector<std::byte> owned, std::string name)
      : Source(std::move(name), owned.size()), owned_(std::move(owned)), bytes_(owned_) {}
  void read(std::uint64_t begin, std::span<std::byte> out, const char*) const override {
    if (!out.empty()) std::memcpy(out.data(), bytes_.data() + begin, out.size());
  }

 private:
  const std::vector<std::byte> owned_;
  const std::span<const std::byte> bytes_;
};

class FromSource final : public Load {
 public:
  FromSource(Ref<const Source> source, io::Stored stored)
      : source_(std::move(source)), stored_(std::move(stored)) {}
  std::string parameters() const override { return io::origin(*source_, stored_.part); }
  // A checksum is that of all bytes, in order.
  bool in_pieces() const override { return !stored_.crc; }

  void read(std::uint64_t begin, std::span<std::byte> out) const override {
    if (!stored_.crc) {
      read_piece(begin, out);
      return swap(out);
    }
    constexpr std::size_t kPiece = 1 << 18;  // checked while it is in the cache
    std::uint32_t crc = stored_.crc_before;
    for (std::size_t at = 0; at < out.size(); at += kPiece) {
      const auto piece = out.subspan(at, std::min(kPiece, out.size() - at));
      read_piece(begin + at, piece);
      crc = io::crc32(crc, piece);
    }
    if (crc != *stored_.crc)
      io::fail("load", source_->name, stored_.part + ": its bytes do not have their checksum");
    swap(out);
  }

 private:
  void read_piece(std::uint64_t begin, std::span<std::byte> out) const {
    source_->read(stored_.begin + begin, out, stored_.part.c_str());
  }
  void swap(std::span<std::byte> out) const {
    if (!stored_.swapped) return;
    const std::size_t size =
        is_complex(stored_.dtype) ? sizeof(float) : size_of(stored_.dtype);  // a number's
    for (std::size_t i = 0; i < out.size(); i += size)
      std::reverse(out.begin() + static_cast<std::ptrdiff_t>(i),
                   out.begin() + static_cast<std::ptrdiff_t>(i + size));
  }

  const Ref<const Source> source_;
  const io::Stored stored_;
};

constexpr std::uint64_t kSmall = 1 << 16;

}  // namespace

FileError::FileError(const std::string& operation, std::string file, int code,
                     const std::string& what)
    : std::system_error(code, std::generic_category(),
                        operation + ": " + file + (what.empty() ? "" : ": " + what)),
      file_(std::move(file)),
      text_(operation + ": " + in_words(code, what)) {}

void io::fail(const char* operation, const std::string& file, const std::string& what) {
  throw FormatError(std::string(operation) + ": " + file + ": " + what);
}

Ref<const Source> open_file(const char* operation, const std::string& path) {
  // Not to wait for the other end of a pipe, which is refused.
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) throw FileError(operation, path, errno);
  Ref<File> file;
  try {
    Stamp stamp = File::stamp_of(operation, path, descriptor);
    // Another change in this tick of the clock would not be seen: some milliseconds at most.
    for (int tries = 0; tries < 20 && stamp.size > kSmall && is_now(stamp.modified); ++tries) {
      constexpr timespec kMillisecond{0, 1000000};
      ::nanosleep(&kMillisecond, nullptr);
      stamp = File::stamp_of(operation, path, descriptor);
    }
    file = make_ref<File>(operation, path, descriptor, stamp);
  } catch (...) {
    ::close(descriptor);
    throw;
  }
  if (file->size > kSmall) return file;
  std::vector<std::byte> bytes(file->size);  // so that many small files are not many open ones
  file->read(0, bytes, "");
  return make_ref<const Memory>(std::move(bytes), path);
}

Ref<const Source> in_memory(std::span<const std::byte> bytes, std::string name) {
  return make_ref<const Memory>(bytes, std::move(name));
}

array io::stored_array(const Ref<const Source>& source, Stored stored, StreamOrDevice s) {
  const Dtype dtype = stored.dtype;
  // A file's bytes may be others than 0 and 1.
  if (dtype == Dtype::bool_) stored.dtype = uint8;
  const Dtype raw = stored.dtype;
  Shape shape = stored.shape;
  const auto from = make_ref<const FromSource>(source, std::move(stored));
  return view(loaded_array(*source, from, std::move(shape), raw, s), dtype, s);
}

array io::loaded_array(const Source& source, const Ref<const Load>& from, Shape shape, Dtype dtype,
                       StreamOrDevice s) {
  if (source.stays()) return array(from, std::move(shape), dtype, {}, s.resolve());
  const auto bytes = static_cast<std::size_t>(element_count(shape)) * size_of(dtype);
  Ref<Buffer> buffer = context::allocate(bytes);
  from->read(0, {static_cast<std::byte*>(buffer->data()), bytes});
  return array(std::move(buffer), std::move(shape), dtype);
}

std::string io::origin(const Source& source, const std::string& part) {
  std::string text = "file='" + source.name + "'" + (part.empty() ? "" : ", ") + part;
  for (char& c : text)
    if (static_cast<unsigned char>(c) >= 0x80) c = '?';  // of any encoding
  return text;
}

}  // namespace cermet
