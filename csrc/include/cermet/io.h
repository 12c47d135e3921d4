// Files: npy, npz, safetensors and GGUF. What is loaded is lazy: the file stays open until the last
// array of it has its value or is gone. Errors name the operation, the file and what is wrong.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>

#include "cermet/array.h"

namespace cermet {

using ArrayMap = std::map<std::string, array>;
using StringMap = std::map<std::string, std::string>;
using NamedArrays = std::vector<std::pair<std::string, array>>;

// What the system says of a file: it is not there, there is no space left, it changed (ESTALE). An
// array that could not be read can be asked for again.
class FileError : public std::system_error {
 public:
  FileError(const std::string& operation, std::string file, int code, const std::string& what = "");
  const std::string& file() const { return file_; }
  // What what() says, but for the file.
  const std::string& text() const { return text_; }

 private:
  std::string file_, text_;
};
// The content of a file is not what its format asks for.
class FormatError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Bytes to read from.
class Source : public RefCounted {
 public:
  Source(std::string name, std::uint64_t size) : name(std::move(name)), size(size) {}
  virtual ~Source() = default;
  // Any bytes, by any thread. `part` is what they are, for errors.
  virtual void read(std::uint64_t begin, std::span<std::byte> out, const char* part) const = 0;
  // Whether it stays as it is: arrays can read from it when they are evaluated. Otherwise they are
  // read when they are loaded.
  virtual bool stays() const { return false; }
  const std::string name;
  const std::uint64_t size;
};
// A file, which its owner keeps open. A small one is read at once. Where it has changed since, to
// read from it is an error.
Ref<const Source> open_file(const char* operation, const std::string& path);
// Bytes that live as long as the source.
Ref<const Source> in_memory(std::span<const std::byte> bytes, std::string name);
// Takes the next bytes of what is written.
using Sink = std::function<void(std::span<const std::byte>)>;

// Has `write` fill a new file beside `path`, whose place it takes when it is whole: until then, and
// where anything fails, what was there stays. Links are followed, permissions kept. A device or a
// pipe is written straight.
void replace_file(const char* operation, const std::string& path,
                  const std::function<void(const Sink&)>& write);

array load(const Ref<const Source>& source, StreamOrDevice s = {});
array load(const std::string& path, StreamOrDevice s = {});
void save(const Sink& out, const array& a);
void save(const std::string& path, const array& a);

std::pair<ArrayMap, StringMap> load_safetensors(const Ref<const Source>& source,
                                                StreamOrDevice s = {});
std::pair<ArrayMap, StringMap> load_safetensors(const std::string& path, StreamOrDevice s = {});
void save_safetensors(const Sink& out, const ArrayMap& arrays, const StringMap& metadata = {});
void save_safetensors(const std::string& path, const ArrayMap& arrays,
                      const StringMap& metadata = {});

// Metadata of GGUF: a number or numbers in a row (an array of at most one axis), a text, or a list
// of values of one kind.
struct GgufValue {
  std::variant<array, std::string, std::vector<GgufValue>> is;
};
using GgufMetadata = std::map<std::string, GgufValue>;
// Tensors of blocks that a mode of quantization has, too, are packed as `quantized_matmul` takes
// them, beside "a.weight" with "a.scales" and, of affine ones, "a.biases" (groups of 32; NVFP4:
// 16); those of other blocks are float16.
std::pair<ArrayMap, GgufMetadata> load_gguf(const Ref<const Source>& source, StreamOrDevice s = {});
std::pair<ArrayMap, GgufMetadata> load_gguf(const std::string& path, StreamOrDevice s = {});
void save_gguf(const Sink& out, const ArrayMap& arrays, const GgufMetadata& metadata = {});
void save_gguf(const std::string& path, const ArrayMap& arrays, const GgufMetadata& metadata = {});

// Compression (raw deflate) comes from the caller: `inflate` fills its output or throws.
using Inflate = std::function<void(std::span<const std::byte> from, std::span<std::byte> to)>;
using Deflate = std::function<std::string(std::span<const std::span<const std::byte>> pieces)>;
NamedArrays load_npz(const Ref<const Source>& source, const Inflate& inflate,
                     StreamOrDevice s = {});
// Without `deflate` elements are stored as they are.
void save_npz(const Sink& out, const NamedArrays& arrays, const Deflate& deflate = {});

}  // namespace cermet
