// Reads broken files: sound ones of each format are changed at random, and what reaches code that
// no file reached before is changed further (csrc/io is compiled to tell, see CMakeLists.txt).
//
//   fuzz_readers [--seconds N] [--seed N] [FORMAT ...]    all formats, N seconds each
//   fuzz_readers --replay FORMAT FILE                     one file
//
// A file may be refused (FormatError), and a call of a function (std::logic_error, too). A crash,
// another error, more memory than the file accounts for, and arrays that do not come back when they
// are saved are findings. The last file is in fuzz_readers.FORMAT in the current folder; it is
// removed where nothing was found.
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "cermet/cermet.h"
#include "cermet/eval.h"
#include "cermet/ops.h"

using namespace cermet;

namespace {

// ---- What was reached ----

constexpr std::size_t kPlaces = 1 << 16;
std::array<bool, kPlaces> reached, reached_before;
std::uintptr_t last_place;

// Whether the last run reached what none had before.
bool reached_more() {
  bool more = false;
  for (std::size_t i = 0; i < kPlaces; ++i)
    if (reached[i] && !reached_before[i]) more = reached_before[i] = true;
  return more;
}

}  // namespace

// The compiler calls it in each block of csrc/io and csrc/export. A pair of blocks is a place.
extern "C" void __sanitizer_cov_trace_pc() {
  const auto here = reinterpret_cast<std::uintptr_t>(__builtin_return_address(0)) -
                    reinterpret_cast<std::uintptr_t>(&__sanitizer_cov_trace_pc);
  const std::uintptr_t mixed = here * 0x9e3779b97f4a7c15u >> 24;
  reached[(mixed ^ last_place) % kPlaces] = true;
  last_place = mixed >> 1;
}

namespace {

// ---- Formats ----

// Bytes that stay, so that arrays are lazy.
class Kept final : public Source {
 public:
  explicit Kept(std::string bytes) : Source("fuzz", bytes.size()), bytes_(std::move(bytes)) {}
  void read(std::uint64_t begin, std::span<std::byte> out, const char*) const override {
    if (begin > size || out.size() > size - begin) throw std::logic_error("read beyond the end");
    if (!out.empty()) std::memcpy(out.data(), bytes_.data() + begin, out.size());
  }
  bool stays() const override { return true; }

 private:
  const std::string bytes_;
};

std::string written(const std::function<void(const Sink&)>& write) {
  std::string text;
  write([&](std::span<const std::byte> bytes) {
    text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  });
  return text;
}

// Compressed members are the bytes themselves: this is no test of zlib.
void inflate(std::span<const std::byte> from, std::span<std::byte> to) {
  if (from.size() != to.size()) throw FormatError("inflate");
  if (!to.empty()) std::memcpy(to.data(), from.data(), to.size());
}
std::string deflate(std::span<const std::span<const std::byte>> pieces) {
  std::string out;
  for (const auto& piece : pieces)
    out.append(reinterpret_cast<const char*>(piece.data()), piece.size());
  return out;
}

// All elements are looked at. Returns the bytes they take.
std::size_t look_at(const array& a) {
  const array rows = contiguous(a);
  rows.eval();
  const auto* bytes = static_cast<const volatile unsigned char*>(rows.raw_data());
  for (std::size_t i = 0; i < rows.nbytes(); ++i) static_cast<void>(bytes[i]);
  return rows.nbytes();
}
std::size_t look_at(const ArrayMap& arrays) {
  std::size_t bytes = 0;
  for (const auto& [name, a] : arrays) bytes += look_at(a);
  return bytes;
}

struct Result {
  std::size_t bytes = 0;
  std::string again;  // as it is saved; empty if it cannot be
};
template <class F>
std::string saved(F save) {
  try {
    return written(save);
  } catch (const std::invalid_argument&) {  // a name that is no UTF-8, a type that is not written
    return "";
  }
}

Result read_npy(const Ref<const Source>& source) {
  const array a = load(source);
  return {look_at(a), saved([&](const Sink& out) { save(out, a); })};
}
Result read_npz(const Ref<const Source>& source) {
  const NamedArrays arrays = load_npz(source, inflate);
  Result result;
  for (const auto& [name, a] : arrays) result.bytes += look_at(a);
  result.again = saved([&](const Sink& out) { save_npz(out, arrays); });
  return result;
}
Result read_safetensors(const Ref<const Source>& source) {
  const auto [arrays, metadata] = load_safetensors(source);
  return {look_at(arrays),
          saved([&](const Sink& out) { save_safetensors(out, arrays, metadata); })};
}
Result read_gguf(const Ref<const Source>& source) {
  const auto [arrays, metadata] = load_gguf(source);
  return {look_at(arrays), saved([&](const Sink& out) { save_gguf(out, arrays, metadata); })};
}

// ---- Functions ----

// The elements of all arrays that must be computed for these, or the limit.
std::size_t to_compute(const Arrays& arrays, std::size_t limit) {
  std::set<const Node*> seen;
  std::vector<const array*> left;
  for (const array& a : arrays) left.push_back(&a);
  std::size_t elements = 0;
  while (!left.empty() && elements < limit) {
    const array& a = *left.back();
    left.pop_back();
    if (a.is_available() || !seen.insert(a.node()).second) continue;
    elements +=
        static_cast<std::size_t>(std::min<std::int64_t>(a.size(), std::int64_t{1} << 40)) + 1;
    for (const array& input : a.inputs()) left.push_back(&input);
  }
  return std::min(elements, limit);
}

Arrays example(const Shape& shape) {
  return {reshape(arange(0, static_cast<double>(element_count(shape)), 1, float32), shape) - 5.5,
          array(std::initializer_list<std::int32_t>{1, 2})};
}

std::string exported(const NamedFunction& fun, const Arrays& in, bool shapeless) {
  const std::string name = "fuzz_readers.exported";
  export_function(name, fun, in, {}, shapeless);
  std::ifstream file(name, std::ios::binary);
  std::string bytes{std::istreambuf_iterator<char>(file), {}};
  ::unlink(name.c_str());
  return bytes;
}

Result read_function(const Ref<const Source>& source) {
  const ImportedFunction fun = import_function(source);
  Result result;
  for (const Shape& shape : {Shape{3, 4}, Shape{1, 4}, Shape{5, 6}}) try {
      const Arrays in = example(shape), out = fun(in, {});
      constexpr std::size_t kMost = 1 << 15;
      if (to_compute(out, kMost) < kMost)
        for (const array& a : out) look_at(a);
      if (shape[0] == 3)
        result.again = exported(
            [&](const Arrays& a, const ArrayMap& named) { return fun(a, named); }, in, false);
    } catch (const std::logic_error&) {  // no function of such arrays
    }
  return result;
}

// ---- Sound files ----

array some(Dtype dtype, Shape shape) {
  return astype(reshape(arange(0, static_cast<double>(element_count(shape)), 1, int32), shape),
                dtype);
}
constexpr Dtype kTypes[] = {bool_, uint8, int16, uint32, int64, float16, bfloat16, complex64};

std::vector<std::string> npy_files() {
  std::vector<std::string> files;
  for (const Dtype dtype : kTypes)
    files.push_back(written([&](const Sink& out) { save(out, some(dtype, {2, 3})); }));
  for (const char* header : {"{'descr': '>f4', 'fortran_order': True, 'shape': (1, 2), }",
                             "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (), }"}) {
    const std::string text = header;
    files.push_back(std::string("\x93NUMPY\2\0", 8) + static_cast<char>(text.size()) +
                    std::string(3, '\0') + text + "abcdefgh");
  }
  return files;
}
std::vector<std::string> npz_files() {
  const NamedArrays arrays{{"a", some(float32, {3})}, {"b/c", some(uint8, {})}};
  return {written([&](const Sink& out) { save_npz(out, arrays); }),
          written([&](const Sink& out) { save_npz(out, arrays, deflate); }),
          written([&](const Sink& out) { save_npz(out, {}); })};
}
std::vector<std::string> safetensors_files() {
  ArrayMap arrays;
  for (const Dtype dtype : kTypes) arrays.emplace(std::string(name_of(dtype)), some(dtype, {1, 2}));
  std::string packed = R"({"x":{"dtype":"F4","shape":[2,4],"data_offsets":[0,4]}})";
  packed =
      std::string(1, static_cast<char>(packed.size())) + std::string(7, '\0') + packed + "abcd";
  return {written([&](const Sink& out) { save_safetensors(out, arrays, {{"key", "value"}}); }),
          written([&](const Sink& out) { save_safetensors(out, {{"x", some(float32, {0, 3})}}); }),
          packed};
}
std::vector<std::string> gguf_files() {
  ArrayMap arrays;
  for (const Dtype dtype : {float32, float16, bfloat16, int8, int64})
    arrays.emplace(std::string(name_of(dtype)), some(dtype, {1, 2}));
  const std::vector<GgufValue> texts{{std::string("a")}, {std::string("bc")}};
  GgufMetadata metadata{{"text", {std::string("value")}}, {"texts", {texts}}};
  metadata.emplace("nested", GgufValue{std::vector<GgufValue>{{texts}, {some(int16, {2})}}});
  for (const Dtype dtype : {bool_, uint8, uint32, float64}) {
    metadata.emplace(name_of(dtype), GgufValue{some(dtype, {})});
    metadata.emplace(std::string(name_of(dtype)) + "s", GgufValue{some(dtype, {3})});
  }
  metadata.emplace("general.alignment", GgufValue{array(std::int64_t{64}, uint32)});
  std::vector<std::string> files{
      written([&](const Sink& out) { save_gguf(out, arrays, metadata); })};
  const std::pair<unsigned char, int> blocks[] = {
      // types and bytes of a row of 256
      {2, 144},  {3, 160},  {6, 176},  {7, 192},  {8, 272},  {10, 84},  {11, 110}, {12, 144},
      {13, 176}, {14, 210}, {15, 292}, {20, 144}, {23, 136}, {39, 136}, {40, 144}, {16, 66}};
  for (const auto& [type, bytes] : blocks) {
    std::string file = written([&](const Sink& out) {
      save_gguf(out, {{"x.weight", some(int8, {256})}}, {{"k", {std::string("v")}}});
    });
    const std::size_t at = file.find("x.weight") + 8 + 4 + 8;
    file[at] = static_cast<char>(type);
    file.resize(file.size() - 256);
    for (int i = 0; i < bytes; ++i) file += static_cast<char>(i * 37);
    files.push_back(file);
  }
  return files;
}

// Of x (3, 4) and i (2,): one has the other primitives than the next.
std::vector<std::string> function_files() {
  const auto in = example({3, 4});
  const auto rows = [](const array& x) { return reshape(x, {1, 1, x.shape(0), x.shape(1)}); };
  const auto gram = [](const array& x) { return matmul(x, transpose(x)); };
  const Function own = checkpoint([](const Arrays& a) { return Arrays{tanh(a[0]) * a[0]}; });
  const std::vector<std::function<Arrays(const array& x, const array& i)>> functions{
      [](const array& x, const array&) {
        return Arrays{softmax(x, Axes{-1}) + reshape(transpose(x), {3, 4}), sum(x), mean(x)};
      },
      [](const array& x, const array& i) {
        return Arrays{take(x, i, 0) * slice(x, {0, 0}, {2, 4}), concatenate({x, x}, 0),
                      put_along_axis(x, argsort(x), x, 1), searchsorted(sort(flatten(x)), x)};
      },
      [](const array& x, const array&) {
        return Arrays{cumsum(sort(x, 0), 1),
                      argmax(x, 1),
                      topk(x, 2),
                      partition(x, 1),
                      as_strided(x, Shape{2, 3}, Shape{4, 1}, 1),
                      view(x, uint8)};
      },
      [](const array&, const array& i) {
        return Arrays{random::normal({2, 3}, float32, {}, {}, view(i, uint32))};
      },
      [&](const array& x, const array&) {
        const Quantized w = quantize(ones({8, 64}), 32, 4);
        return Arrays{quantized_matmul(tile(x, {1, 16}), w.w, w.scales, w.biases, true, 32, 4),
                      addmm(x, gram(x), x, 2, 0.5)};
      },
      [&](const array& x, const array& i) {
        return Arrays{fast::scaled_dot_product_attention(rows(x), rows(x), rows(x), 0.5),
                      fast::rope(rows(x), 4, false, 100.0, 1.0, take(i, 0))};
      },
      [&](const array& x, const array&) {
        const array images = reshape(x, {1, 3, 4, 1});
        return grad([&](const Arrays& a) {
          return sum(square(conv(2, a[0], ones({2, 2, 2, 1}), {1, 1}, {1, 1})) +
                     sum(fast::max_pool(a[0], {2, 2}, {1, 1}, {0, 0})));
        })({images});
      },
      [&](const array& x, const array&) {
        return Arrays{fft::irfft(fft::fft(fft::rfft(x), {}, 0), 7), std::get<1>(linalg::svd(x)),
                      linalg::cholesky(gram(x) + 9.0 * identity(3, float32))};
      },
      [&](const array& x, const array&) { return own({x}); },
  };
  std::vector<std::string> files;
  for (const auto& fun : functions)
    for (const bool shapeless : {false, true}) try {
        files.push_back(exported([&](const Arrays& a, const ArrayMap&) { return fun(a[0], a[1]); },
                                 in, shapeless));
      } catch (const std::exception&) {
        if (!shapeless) throw;  // it asks for extents
      }
  return files;
}

struct Format {
  const char* name;
  std::vector<std::string> (*files)();
  Result (*read)(const Ref<const Source>&);
  const std::vector<const char*> words;  // that may stand in a file
};
const Format kFormats[] = {
    {"npy",
     npy_files,
     read_npy,
     {"'descr'", "'fortran_order'", "'shape'", "True", "(", ")", ", ", "<f4", ">c8", "|V2", "[("}},
    {"npz", npz_files, read_npz, {"PK\3\4", "PK\1\2", "PK\5\6", "PK\6\6", "PK\6\7", "../", ".npy"}},
    {"safetensors",
     safetensors_files,
     read_safetensors,
     {"{", "}", "[", "]", ",", ":", "\"dtype\"", "\"shape\"", "\"data_offsets\"",
      "\"__metadata__\"", "\"F6_E2M3\"", "\"F64\"", "18446744073709551615", "-1", "1e9", "null",
      "\\u0000", "\\ud800"}},
    {"gguf", gguf_files, read_gguf, {"GGUF", "general.alignment", ".weight", ".scales"}},
    {"function",
     function_files,
     read_function,
     {"add", "reduce", "slice", "gather", "pick", "matmul"}},
};

// ---- Changes ----

class Changer {
 public:
  explicit Changer(std::uint64_t seed) : random_(seed) {}

  std::size_t below(std::size_t n) { return static_cast<std::size_t>(random_() % n); }

  std::string changed(std::string file, const std::vector<std::string>& others,
                      const std::vector<const char*>& words) {
    for (std::size_t n = std::size_t{1} << below(4); n > 0; --n) change(file, others, words);
    constexpr std::size_t kLongest = 1 << 14;
    file.resize(std::min(file.size(), kLongest));
    return file;
  }

 private:
  void change(std::string& file, const std::vector<std::string>& others,
              const std::vector<const char*>& words) {
    const std::size_t at = below(file.size() + 1), left = file.size() - at;
    const std::size_t some = below(std::min<std::size_t>(left, 32) + 1);
    switch (below(11)) {
      case 0:
        if (left > 0) file[at] = static_cast<char>(file[at] ^ 1 << below(8));
        return;
      case 1:
        if (left > 0) file[at] = static_cast<char>(below(256));
        return;
      case 2: return put_number(file, at);
      case 3: file.erase(at, some); return;
      case 4: file.insert(at, file.substr(at, some)); return;
      case 5: file.insert(below(file.size() + 1), std::string(below(16), char(below(256)))); return;
      case 6: file.resize(at); return;
      case 7: return put_digit(file, at);
      case 8: {  // a word for another
        const std::size_t place = file.find(words[below(words.size())], at);
        const std::string word = words[below(words.size())];
        if (place < file.size()) file.replace(place, word.size(), word);
        return;
      }
      case 9: {
        const std::string word = words[below(words.size())];
        if (below(2) == 0)
          file.insert(at, word);
        else
          file.replace(at, word.size(), word);
        return;
      }
      default: {
        const std::string& other = others[below(others.size())];
        const std::size_t from = below(other.size() + 1);
        if (below(2) == 0)
          file.replace(at, some, other.substr(from, 64));
        else
          file = file.substr(0, at) + other.substr(from);
      }
    }
  }
  static void put_digit(std::string& file, std::size_t at) {
    at = file.find_first_of("0123456789", at);
    if (at < file.size()) file[at] = static_cast<char>('0' + (file[at] * 7 + at) % 10);
  }
  // Numbers at which something changes, of 1 to 8 bytes.
  void put_number(std::string& file, std::size_t at) {
    const std::size_t bytes = std::size_t{1} << below(4);
    if (file.size() < bytes) return;
    at = std::min(at, file.size() - bytes);
    std::uint64_t value = 0;
    std::memcpy(&value, file.data() + at, bytes);
    switch (below(4)) {
      case 0: value += below(64) - 32; break;
      case 1: value = (std::uint64_t{1} << below(64)) - below(2); break;
      case 2: value = ~std::uint64_t{0} - below(64); break;
      default: value = below(2) == 0 ? file.size() - below(64) : below(300);
    }
    std::memcpy(file.data() + at, &value, bytes);
  }

  std::mt19937_64 random_;
};

// ---- Running ----

[[noreturn]] void found(const Format& format, const std::string& what) {
  std::fprintf(stderr, "%s: %s; the file is fuzz_readers.%s\n", format.name, what.c_str(),
               format.name);
  std::abort();
}

Result read(const Format& format, const std::string& file, bool lazy) {
  return format.read(lazy ? make_ref<const Kept>(file)
                          : in_memory(std::as_bytes(std::span(file)), "fuzz"));
}

// Whether the file was read.
bool run(const Format& format, const std::string& file, bool lazy) {
  Result result;
  last_place = 0;
  reached.fill(false);
  try {
    result = read(format, file, lazy);
  } catch (const FormatError&) {
    return false;
  } catch (const std::exception& e) {
    found(format, std::string("another error: ") + e.what());
  }
  const auto places = reached;      // not of what follows
  constexpr std::size_t kMost = 7;  // times the bytes, of blocks that are unpacked
  if (result.bytes > kMost * file.size())
    found(format, std::to_string(result.bytes) + " bytes of " + std::to_string(file.size()));
  if (!result.again.empty()) try {
      if (read(format, result.again, !lazy).again != result.again)
        found(format, "what was saved is read as something else");
    } catch (const std::exception& e) {
      found(format, std::string("what was saved is not read: ") + e.what());
    }
  reached = places;
  return true;
}

void fuzz(const Format& format, double seconds, std::uint64_t seed) {
  const std::string name = std::string("fuzz_readers.") + format.name;
  const int last = ::open(name.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0666);
  if (last < 0) found(format, "the file cannot be written");
  const auto keep = [&](const std::string& file) {
    if (::pwrite(last, file.data(), file.size(), 0) < 0 ||
        ::ftruncate(last, static_cast<off_t>(file.size())) != 0)
      found(format, "the file cannot be written");
  };
  Changer changer(seed);
  std::vector<std::string> files = format.files();
  reached_before.fill(false);
  for (const std::string& file : files) {
    keep(file);
    run(format, file, true);
    reached_more();
  }
  const std::size_t sound = files.size();
  using Clock = std::chrono::steady_clock;
  const auto begin = Clock::now();
  std::size_t runs = 0, read = 0;
  while (std::chrono::duration<double>(Clock::now() - begin).count() < seconds) {
    std::string file = changer.changed(files[changer.below(files.size())], files, format.words);
    keep(file);
    if (run(format, file, changer.below(4) != 0)) ++read;
    ++runs;
    if (reached_more()) files.push_back(std::move(file));
  }
  ::close(last);
  ::unlink(name.c_str());
  std::printf("%s: %zu files, %zu of them read, %zu kept beside %zu\n", format.name, runs, read,
              files.size() - sound, sound);
}

}  // namespace

int main(int argc, char** argv) {
  double seconds = 10;
  std::uint64_t seed = 0;
  std::vector<std::string> names;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--replay" && i + 2 < argc) {
      std::ifstream in(argv[i + 2], std::ios::binary);
      const std::string file{std::istreambuf_iterator<char>(in), {}};
      for (const Format& format : kFormats)
        if (format.name == std::string_view(argv[i + 1]))
          for (const bool lazy : {true, false}) run(format, file, lazy);
      return 0;
    }
    if (word == "--seconds" && i + 1 < argc)
      seconds = std::atof(argv[++i]);
    else if (word == "--seed" && i + 1 < argc)
      seed = std::strtoull(argv[++i], nullptr, 10);
    else
      names.push_back(word);
  }
  for (const Format& format : kFormats)
    if (names.empty() || std::find(names.begin(), names.end(), format.name) != names.end())
      fuzz(format, seconds, seed);
}
