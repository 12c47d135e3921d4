// Reading GGUF, versions 2 and 3: metadata, what the tensors are, their elements.
#include "io/gguf.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <set>

#include "cermet/ops.h"
#include "graph/context.h"

namespace cermet {
namespace {

using io::GgufType;

constexpr const char* kLoad = "load";

// The header from its beginning on. What it lacks is a std::invalid_argument.
class Reader {
 public:
  explicit Reader(const Source& source) : source_(source) {}

  std::uint64_t at() const { return at_; }
  std::uint64_t left() const { return source_.size - at_; }

  void read(std::span<std::byte> out) {
    need(1, out.size());
    if (out.size() > kAhead) {
      source_.read(at_, out, "");
    } else {
      if (at_ < begin_ || at_ + out.size() > begin_ + ahead_.size()) {
        begin_ = at_;
        ahead_.resize(std::min(kAhead, left()));
        source_.read(at_, ahead_, "");
      }
      if (!out.empty()) std::memcpy(out.data(), ahead_.data() + (at_ - begin_), out.size());
    }
    at_ += out.size();
  }
  template <class T>
  T number() {
    T value{};
    read(std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }
  std::string text() {
    std::string out(need(number<std::uint64_t>(), 1), '\0');
    read(std::as_writable_bytes(std::span(out)));
    return out;
  }
  // `count` things of at least `size` bytes each are there.
  std::uint64_t need(std::uint64_t count, std::uint64_t size) const {
    if (size > 0 && count > left() / size)
      throw std::invalid_argument("the file is cut short: " + std::to_string(count) + " times " +
                                  std::to_string(size) + " bytes at " + std::to_string(at_) +
                                  ", the file has " + std::to_string(source_.size));
    return count;
  }

 private:
  static constexpr std::uint64_t kAhead = 1 << 16;

  const Source& source_;
  std::uint64_t at_ = 0, begin_ = 0;
  std::vector<std::byte> ahead_;  // from begin_ on
};

GgufValue read_value(Reader& in, std::uint32_t code, int depth);

// `count` numbers, or one without an axis.
array read_numbers(Reader& in, Dtype dtype, std::optional<std::uint64_t> count) {
  in.need(count.value_or(1), size_of(dtype));
  Shape shape;
  if (count) shape.push_back(static_cast<std::int64_t>(*count));
  const std::size_t bytes = count.value_or(1) * size_of(dtype);
  Ref<Buffer> buffer = context::allocate(bytes);
  auto* data = static_cast<std::uint8_t*>(buffer->data());
  in.read(std::as_writable_bytes(std::span(data, bytes)));
  if (dtype == Dtype::bool_)
    for (std::size_t i = 0; i < bytes; ++i) data[i] = data[i] != 0;
  return array(std::move(buffer), std::move(shape), dtype);
}

GgufValue read_list(Reader& in, int depth) {
  if (depth > io::kGgufDeepest) throw std::invalid_argument("lists are nested too deep");
  const auto code = in.number<std::uint32_t>();
  const auto count = in.number<std::uint64_t>();
  if (const auto dtype = io::gguf_number(code)) return {read_numbers(in, *dtype, count)};
  std::vector<GgufValue> list;
  list.reserve(in.need(count, code == io::kGgufText ? 8 : 12));
  for (std::uint64_t i = 0; i < count; ++i) list.push_back(read_value(in, code, depth + 1));
  return {std::move(list)};
}

GgufValue read_value(Reader& in, std::uint32_t code, int depth) {
  if (code == io::kGgufText) return {in.text()};
  if (code == io::kGgufList) return read_list(in, depth);
  const auto dtype = io::gguf_number(code);
  if (!dtype) throw std::invalid_argument("metadata of type " + std::to_string(code));
  return {read_numbers(in, *dtype, {})};
}

struct Tensor {
  std::string name;
  const GgufType* type;
  Shape shape;
  std::uint64_t begin, bytes;
};

Tensor read_tensor(Reader& in) {
  Tensor t{in.text(), nullptr, {}, 0, 0};
  const auto refuse = [&](const std::string& what) {
    throw std::invalid_argument("tensor '" + t.name + "': " + what);
  };
  const auto axes = in.need(in.number<std::uint32_t>(), 8);
  for (std::uint64_t i = 0; i < axes; ++i) t.shape.push_back(in.number<std::int64_t>());
  std::reverse(t.shape.begin(), t.shape.end());
  const auto code = in.number<std::uint32_t>();
  t.begin = in.number<std::uint64_t>();
  t.type = io::gguf_type(code);
  if (!t.type) refuse("elements of type " + std::to_string(code) + " are not known");
  if (t.type->elements == 0)
    refuse("elements of type " + std::string(t.type->name) + " are not supported");
  std::uint64_t count = 0;
  try {
    count = static_cast<std::uint64_t>(element_count(t.shape));
    // What the blocks become is counted in 63 bits, too.
    Shape largest = t.shape;
    largest.push_back(sizeof(double));
    element_count(largest);
  } catch (const std::logic_error& e) {
    refuse(e.what());
  }
  const std::int64_t row = t.shape.empty() ? 1 : t.shape.back();
  if (row % t.type->elements != 0)
    refuse("rows of " + std::to_string(row) + " elements are not whole blocks of " + t.type->name +
           ", which have " + std::to_string(t.type->elements));
  t.bytes = count / static_cast<std::uint64_t>(t.type->elements) *
            static_cast<std::uint64_t>(t.type->bytes);
  return t;
}

// Each lies in the file, and no byte is two tensors', so that a file has no more than it holds.
void check_places(std::vector<Tensor>& tensors, std::uint64_t start, std::uint64_t alignment,
                  std::uint64_t size) {
  std::vector<const Tensor*> order;
  for (Tensor& t : tensors) {
    if (t.begin % alignment != 0)
      throw std::invalid_argument("tensor '" + t.name + "': its place, " + std::to_string(t.begin) +
                                  ", is no multiple of " + std::to_string(alignment));
    if (start > size || t.begin > size - start || t.bytes > size - start - t.begin)
      throw std::invalid_argument("tensor '" + t.name + "': " + std::to_string(t.bytes) +
                                  " bytes at " + std::to_string(t.begin) +
                                  " lie outside the file, which has " + std::to_string(size));
    t.begin += start;
    if (t.bytes > 0) order.push_back(&t);
  }
  std::sort(order.begin(), order.end(),
            [](const Tensor* a, const Tensor* b) { return a->begin < b->begin; });
  for (std::size_t i = 1; i < order.size(); ++i)
    if (order[i]->begin < order[i - 1]->begin + order[i - 1]->bytes)
      throw std::invalid_argument("tensors '" + order[i - 1]->name + "' and '" + order[i]->name +
                                  "' overlap");
}

void add_tensor(const Ref<const Source>& source, const Tensor& t, ArrayMap& arrays,
                StreamOrDevice s) {
  const std::string what = "tensor '" + t.name + "'";
  const auto add = [&](const std::string& name, const array& a) {
    if (!arrays.emplace(name, a).second)
      throw std::invalid_argument(what + ": two arrays are called '" + name + "'");
  };
  if (t.type->parts.empty())
    return add(
        t.name,
        io::stored_array(
            source,
            {.begin = t.begin, .dtype = t.type->plain, .shape = t.shape, .crc = {}, .part = what},
            s));
  for (const io::BlockPart& part : t.type->parts) {
    Shape shape = t.shape;
    shape.back() = shape.back() / t.type->elements * part.count;
    add(*part.name ? io::gguf_name_beside(t.name, part.name) : t.name,
        io::block_array(source, t.begin, *t.type, part, std::move(shape), what, s));
  }
}

std::pair<ArrayMap, GgufMetadata> read_file(const Ref<const Source>& source, StreamOrDevice s) {
  Reader in(*source);
  char magic[4];
  in.read(std::as_writable_bytes(std::span(magic)));
  if (std::string_view(magic, 4) != io::kGgufMagic) throw std::invalid_argument("not a GGUF file");
  const auto version = in.number<std::uint32_t>();
  if (version != 0 && version % (1 << 16) == 0)
    throw std::invalid_argument("a big-endian file is not supported");
  if (version != 2 && version != io::kGgufVersion)
    throw std::invalid_argument("version " + std::to_string(version) +
                                " is not supported, versions 2 and 3 are");
  const auto tensor_count = in.number<std::uint64_t>();
  const auto value_count = in.number<std::uint64_t>();
  std::pair<ArrayMap, GgufMetadata> out;
  in.need(value_count, 13);
  for (std::uint64_t i = 0; i < value_count; ++i) {
    std::string key = in.text();
    GgufValue value = read_value(in, in.number<std::uint32_t>(), 0);
    const auto [place, is_new] = out.second.emplace(std::move(key), std::move(value));
    if (!is_new) throw std::invalid_argument("metadata '" + place->first + "' is there twice");
  }
  const std::uint64_t alignment = io::gguf_alignment(out.second, "");
  in.need(tensor_count, 24);
  std::vector<Tensor> tensors;
  for (std::uint64_t i = 0; i < tensor_count; ++i) tensors.push_back(read_tensor(in));
  check_places(tensors, (in.at() + alignment - 1) / alignment * alignment, alignment, source->size);
  for (const Tensor& t : tensors) add_tensor(source, t, out.first, s);
  return out;
}

struct Number {
  std::uint32_t code;
  Dtype dtype;
};
constexpr Number kNumbers[] = {{0, uint8},   {1, int8},   {2, uint16},  {3, int16},
                               {4, uint32},  {5, int32},  {6, float32}, {7, bool_},
                               {10, uint64}, {11, int64}, {12, float64}};

}  // namespace

std::optional<Dtype> io::gguf_number(std::uint32_t code) {
  for (const Number& number : kNumbers)
    if (number.code == code) return number.dtype;
  return {};
}
std::optional<std::uint32_t> io::gguf_number_code(Dtype dtype) {
  for (const Number& number : kNumbers)
    if (number.dtype == dtype) return number.code;
  return {};
}

std::uint64_t io::gguf_alignment(const GgufMetadata& metadata, const std::string& before) {
  constexpr std::uint64_t kUsual = 32;
  const auto found = metadata.find("general.alignment");
  if (found == metadata.end()) return kUsual;
  const auto* number = std::get_if<array>(&found->second.is);
  if (number && number->ndim() == 0 && number->dtype() == uint32) {
    const std::uint64_t alignment = number->item<std::uint32_t>();
    constexpr std::uint64_t kMost = 1 << 21;  // as a large page of memory
    if (alignment > 0 && alignment <= kMost && (alignment & (alignment - 1)) == 0) return alignment;
  }
  throw std::invalid_argument(before +
                              "general.alignment is to be a power of two up to 2^21, as uint32");
}

std::string io::gguf_name_beside(std::string name, const std::string& part) {
  constexpr std::string_view kWeight = ".weight";
  if (name.ends_with(kWeight)) name.resize(name.size() - kWeight.size());
  return name + "." + part;
}

std::pair<ArrayMap, GgufMetadata> load_gguf(const Ref<const Source>& source, StreamOrDevice s) {
  try {
    return read_file(source, s);
  } catch (const std::invalid_argument& e) {
    io::fail(kLoad, source->name, e.what());
  }
}
std::pair<ArrayMap, GgufMetadata> load_gguf(const std::string& path, StreamOrDevice s) {
  return load_gguf(open_file(kLoad, path), s);
}

}  // namespace cermet
