// The disk cache: files of a folder that processes share, written whole or not at all.
#pragma once

#include <filesystem>
#include <initializer_list>
#include <string>
#include <string_view>

namespace cermet::metal::simulator {

// 128 bits in hexadecimal, of the texts one after the other.
std::string fingerprint(std::initializer_list<std::string_view> texts);

// The folder of compiled code. Where the user's cannot be written, a folder of this process.
std::filesystem::path cache_folder();

// A new folder in `parent`, removed with all that is in it.
class ScratchFolder {
 public:
  explicit ScratchFolder(const std::filesystem::path& parent);
  ~ScratchFolder();
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// Empty where there is no such file.
std::string read_file(const std::filesystem::path& path);
// Throws std::runtime_error.
void write_file(const std::filesystem::path& path, std::string_view text);

// A file that ends with a text (of what it was made from) and a fingerprint of all that comes
// before. Sealing is for files whose loader does not mind bytes at the end; read_sealed gives
// nothing where the file is missing or damaged.
void seal(const std::filesystem::path& path, std::string_view end);
std::string read_sealed(const std::filesystem::path& path);

}  // namespace cermet::metal::simulator
