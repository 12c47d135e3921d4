// The safetensors format: the length of a JSON header, the header, the elements.
#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "cermet/ops.h"
#include "io/stored.h"

namespace cermet {
namespace {

using nlohmann::json;

struct Code {
  const char* text;
  Dtype dtype;
  int bits = 0;  // of an element that is a part of a byte
};
// What has no type here comes as its bytes: elements of 4 and 6 bits are packed along the last
// axis.
constexpr Code kCodes[] = {
    {"BOOL", bool_},       {"U8", uint8},          {"U16", uint16},        {"U32", uint32},
    {"U64", uint64},       {"I8", int8},           {"I16", int16},         {"I32", int32},
    {"I64", int64},        {"F16", float16},       {"BF16", bfloat16},     {"F32", float32},
    {"F64", float64},      {"C64", complex64},     {"F8_E4M3", uint8},     {"F8_E5M2", uint8},
    {"F8_E8M0", uint8},    {"F8_E4M3FNUZ", uint8}, {"F8_E5M2FNUZ", uint8}, {"F4", uint8, 4},
    {"F6_E2M3", uint8, 6}, {"F6_E3M2", uint8, 6}};

constexpr const char* kLoad = "load_safetensors";
constexpr const char* kMetadata = "__metadata__";
constexpr std::uint64_t kLongestHeader = 100'000'000;  // as in other readers of the format

// Reads the header as it comes: a tree of it would need memory to be let go of. Whatever is not as
// expected is a std::invalid_argument.
class Header final : public nlohmann::json_sax<json> {
 public:
  StringMap metadata;
  std::map<std::string, io::Stored> tensors;  // from the first on, which begins at 0

  // `have`: the bytes of all elements.
  explicit Header(std::uint64_t have) : have_(have) {}

  bool start_object(std::size_t) override {
    if (++depth_ > 2) refuse("an object in place of a value");
    dtype_.clear();
    shape_.reset();
    offsets_.reset();
    return true;
  }
  bool end_object() override {
    if (depth_-- == 2 && name_ != kMetadata) add_tensor();
    return true;
  }
  bool key(std::string& key) override {
    (depth_ == 1 ? name_ : field_) = key;
    return true;
  }
  bool start_array(std::size_t) override {
    const bool known = name_ != kMetadata && (field_ == "shape" || field_ == "data_offsets");
    if (depth_ != 2 || !known || list_) refuse("a list in place of a value");
    list_ = &(field_ == "shape" ? shape_ : offsets_).emplace();
    return true;
  }
  bool end_array() override {
    list_ = nullptr;
    return true;
  }
  bool number_unsigned(std::uint64_t v) override {
    if (!list_) refuse("a number");
    list_->push_back(static_cast<std::int64_t>(v));
    return true;
  }
  bool string(std::string& v) override {
    if (depth_ != 2 || list_) refuse("a text");
    if (name_ == kMetadata)
      metadata[field_] = v;
    else if (field_ == "dtype")
      dtype_ = v;
    return true;
  }
  bool null() override {  // some writers' word for no metadata
    if (depth_ != 1 || name_ != kMetadata) refuse("null");
    return true;
  }
  bool boolean(bool) override { refuse("a truth value"); }
  bool number_integer(std::int64_t) override { refuse("a negative number"); }
  bool number_float(double, const std::string&) override { refuse("a number that is not whole"); }
  bool binary(json::binary_t&) override { refuse("bytes"); }
  bool parse_error(std::size_t, const std::string&, const json::exception& e) override {
    throw std::invalid_argument("the header is malformed: " + std::string(e.what()));
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    if (depth_ == 0) throw std::invalid_argument("the header is not a JSON object");
    throw std::invalid_argument("tensor '" + name_ + "': " + what);
  }

  // The shape of the bytes of such elements.
  static void pack(Shape& shape, int bits) {
    element_count(shape);  // whose bits can be counted
    if (shape.empty() || shape.back() * bits % 8 != 0)
      throw std::invalid_argument("a row of " + std::to_string(bits) +
                                  " bits an element is not of whole bytes");
    shape.back() = shape.back() * bits / 8;
  }

  void add_tensor() {
    if (dtype_.empty() || !shape_ || !offsets_) refuse("dtype, shape and data_offsets are needed");
    const auto* known = std::find_if(std::begin(kCodes), std::end(kCodes),
                                     [&](const Code& c) { return dtype_ == c.text; });
    if (known == std::end(kCodes)) refuse("dtype " + dtype_ + " is not supported");
    if (offsets_->size() != 2) refuse("data_offsets needs two numbers");
    std::uint64_t need = 0;
    try {
      if (known->bits > 0) pack(*shape_, known->bits);
      need = static_cast<std::uint64_t>(element_count(*shape_)) * size_of(known->dtype);
    } catch (const std::logic_error& e) {
      refuse(e.what());
    }
    const auto begin = static_cast<std::uint64_t>((*offsets_)[0]),
               end = static_cast<std::uint64_t>((*offsets_)[1]);
    if (begin > end || end > have_)
      refuse("bytes " + std::to_string(begin) + " to " + std::to_string(end) +
             " lie outside the file's " + std::to_string(have_));
    if (end - begin != need)
      refuse("shape " + to_string(*shape_) + " of " + std::string(name_of(known->dtype)) +
             " needs " + std::to_string(need) + " bytes, " + std::to_string(end - begin) +
             " are given");
    io::Stored stored;
    stored.begin = begin;
    stored.dtype = known->dtype;
    stored.shape = std::move(*shape_);
    stored.part = "tensor '" + name_ + "'";
    if (!tensors.emplace(name_, std::move(stored)).second) refuse("it is there twice");
  }

  const std::uint64_t have_;
  int depth_ = 0;  // of objects
  std::string name_, field_, dtype_;
  std::optional<Shape> shape_, offsets_;
  Shape* list_ = nullptr;  // that is read
};

// The header, and where the elements begin.
std::pair<Header, std::uint64_t> parse_header(const Source& source) {
  std::array<unsigned char, 8> fixed{};
  if (source.size < fixed.size()) throw std::invalid_argument("too short for a safetensors file");
  source.read(0, std::as_writable_bytes(std::span(fixed)), "");
  std::uint64_t length = 0;
  for (int i = 7; i >= 0; --i) length = length << 8 | fixed[static_cast<std::size_t>(i)];
  const std::uint64_t rest = source.size - fixed.size();
  if (length > std::min(rest, kLongestHeader))
    throw std::invalid_argument("the header is cut short or too long: " + std::to_string(length) +
                                " bytes, the file has " + std::to_string(source.size));
  std::string text(length, '\0');
  source.read(fixed.size(), std::as_writable_bytes(std::span(text)), "");
  Header header(rest - length);
  json::sax_parse(text, &header);
  return {std::move(header), fixed.size() + length};
}

// No byte is two tensors', so that a file has no more elements than bytes.
void check_overlap(const Header& header) {
  std::vector<std::pair<std::uint64_t, const io::Stored*>> ends;
  for (const auto& [name, t] : header.tensors)
    if (const auto bytes = static_cast<std::uint64_t>(element_count(t.shape)) * size_of(t.dtype))
      ends.emplace_back(t.begin + bytes, &t);
  std::sort(ends.begin(), ends.end());
  for (std::size_t i = 1; i < ends.size(); ++i)
    if (ends[i].second->begin < ends[i - 1].first)
      throw std::invalid_argument(ends[i - 1].second->part + " and " + ends[i].second->part +
                                  " overlap");
}

}  // namespace

std::pair<ArrayMap, StringMap> load_safetensors(const Ref<const Source>& source, StreamOrDevice s) {
  std::pair<ArrayMap, StringMap> out;
  try {
    auto [header, start] = parse_header(*source);
    check_overlap(header);
    for (auto& [name, stored] : header.tensors) {
      stored.begin += start;
      out.first.emplace(name, io::stored_array(source, std::move(stored), s));
    }
    out.second = std::move(header.metadata);
  } catch (const std::invalid_argument& e) {
    io::fail(kLoad, source->name, e.what());
  }
  return out;
}

void save_safetensors(const Sink& out, const ArrayMap& arrays, const StringMap& metadata) {
  if (arrays.contains(kMetadata))
    throw std::invalid_argument("save_safetensors: no array can have the name '__metadata__'");
  std::string text = "{";
  const auto quoted = [](const std::string& name) {
    try {
      return json(name).dump();
    } catch (const json::exception& e) {
      throw std::invalid_argument(std::string("save_safetensors: ") + e.what());
    }
  };
  if (!metadata.empty()) {
    text += quoted(kMetadata) + ":{";
    for (const auto& [key, value] : metadata) text += quoted(key) + ":" + quoted(value) + ",";
    text.back() = '}';
    text += ',';
  }
  std::uint64_t offset = 0;
  // The largest elements first, so that every tensor is aligned for its type.
  std::vector<const ArrayMap::value_type*> order;
  for (const auto& item : arrays) order.push_back(&item);
  std::stable_sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return a->second.itemsize() > b->second.itemsize();
  });
  for (const auto* item : order) {
    const array& a = item->second;
    std::string shape;
    for (const std::int64_t d : a.shape())
      shape.append(shape.empty() ? 0 : 1, ',') += std::to_string(d);
    text += quoted(item->first) + ":{\"dtype\":\"" + kCodes[static_cast<int>(a.dtype())].text +
            "\",\"shape\":[" + shape + "],\"data_offsets\":[" + std::to_string(offset) + "," +
            std::to_string(offset + a.nbytes()) + "]},";
    offset += a.nbytes();
  }
  if (text.back() == ',') text.pop_back();
  text += '}';
  text.append((8 - text.size() % 8) % 8, ' ');
  std::string length;
  for (int i = 0; i < 8; ++i) length += static_cast<char>(text.size() >> (8 * i));
  out(io::bytes_of(length));
  out(io::bytes_of(text));
  for (const auto* item : order) {
    const array rows = contiguous(item->second);
    rows.eval();
    out(io::bytes_of(rows));
  }
}
void save_safetensors(const std::string& path, const ArrayMap& arrays, const StringMap& metadata) {
  for (const auto& [name, a] : arrays) a.eval();
  replace_file("save_safetensors", path,
               [&](const Sink& out) { save_safetensors(out, arrays, metadata); });
}

std::pair<ArrayMap, StringMap> load_safetensors(const std::string& path, StreamOrDevice s) {
  return load_safetensors(open_file(kLoad, path), s);
}

}  // namespace cermet
