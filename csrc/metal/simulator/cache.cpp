// Files of the cache and their fingerprints.
#include "metal/simulator/cache.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <system_error>

namespace cermet::metal::simulator {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kFingerprint = 32;

std::uint64_t mix(std::uint64_t x) {  // the finalizer of SplitMix64
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
  x = (x ^ x >> 27) * 0x94d049bb133111eb;
  return x ^ x >> 31;
}

// $CERMET_CACHE, $XDG_CACHE_HOME/cermet or ~/.cache/cermet; empty without any.
fs::path user_folder() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return fs::path(value == nullptr ? "" : value);
  };
  if (const fs::path p = variable("CERMET_CACHE"); !p.empty()) return p;
  if (const fs::path p = variable("XDG_CACHE_HOME"); !p.empty()) return p / "cermet";
  if (const fs::path p = variable("HOME"); !p.empty()) return p / ".cache" / "cermet";
  return {};
}

}  // namespace

std::string fingerprint(std::initializer_list<std::string_view> texts) {
  std::array<std::uint64_t, 2> state = {0x243f6a8885a308d3, 0x13198a2e03707344};
  const auto add = [&](std::uint64_t word) {
    state[0] = mix(state[0] ^ word) + state[1];
    state[1] = mix(state[1] + word) ^ state[0];
  };
  for (std::string_view text : texts) {
    add(text.size());
    for (; !text.empty(); text.remove_prefix(std::min<std::size_t>(8, text.size()))) {
      std::uint64_t word = 0;
      std::memcpy(&word, text.data(), std::min<std::size_t>(8, text.size()));
      add(word);
    }
  }
  std::string hex;
  for (const std::uint64_t word : state)
    for (int shift = 60; shift >= 0; shift -= 4) hex += "0123456789abcdef"[word >> shift & 15];
  return hex;
}

fs::path cache_folder() {
  const fs::path user = user_folder();
  std::error_code error;
  if (!user.empty()) {
    const fs::path folder = user / "metal";
    fs::create_directories(folder, error);
    if (!error && access(folder.c_str(), W_OK | X_OK) == 0) return folder;
  }
  static const ScratchFolder own(fs::temp_directory_path());
  return own.path();
}

ScratchFolder::ScratchFolder(const fs::path& parent) {
  std::string name = (parent / "cermet-XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr)
    throw std::system_error(errno, std::generic_category(),
                            "no folder can be made in " + parent.string());
  path_ = name;
}

ScratchFolder::~ScratchFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

std::string read_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void write_file(const fs::path& path, std::string_view text) {
  std::ofstream out(path, std::ios::binary);
  out.write(text.data(), static_cast<std::streamsize>(text.size()));
  if (!out.flush()) throw std::runtime_error("cannot write " + path.string());
}

void seal(const fs::path& path, std::string_view end) {
  const std::string text = read_file(path).append(end);
  write_file(path, text + fingerprint({text}));
}

std::string read_sealed(const fs::path& path) {
  std::string text = read_file(path);
  if (text.size() < kFingerprint) return "";
  const std::string end = text.substr(text.size() - kFingerprint);
  text.resize(text.size() - kFingerprint);
  return fingerprint({text}) == end ? text : "";
}

}  // namespace cermet::metal::simulator
