// The safetensors format: the length of a JSON header, the header, the elements.
#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "cermet/ops.h"
#include "io/stored.h"

namespace cermet {
namespace {

using nlohmann::json;

struct Code {
  const char* text;
  Dtype dtype;
};
constexpr Code kCodes[] = {
    {"BOOL", bool_},  {"U8", uint8},      {"U16", uint16},    {"U32", uint32},
    {"U64", uint64},  {"I8", int8},       {"I16", int16},     {"I32", int32},
    {"I64", int64},   {"F16", float16},   {"BF16", bfloat16}, {"F32", float32},
    {"F64", float64}, {"C64", complex64}, {"F8_E4M3", uint8}, {"F8_E8M0", uint8}};

constexpr const char* kLoad = "load_safetensors";
constexpr const char* kMetadata = "__metadata__";
constexpr std::uint64_t kLongestHeader = 100'000'000;  // as in other readers of the format

// A whole number that is not negative.
std::uint64_t number(const json& value) {
  if (!value.is_number_unsigned()) throw std::invalid_argument("expected a whole number");
  return value.get<std::uint64_t>();
}

// What the header says of a tensor; it begins at 0 with the first.
io::Stored tensor(const std::string& name, const json& entry, std::uint64_t have) {
  const auto bad = [](const std::string& what) { throw std::invalid_argument(what); };
  if (!entry.is_object() || !entry.contains("dtype") || !entry.contains("shape") ||
      !entry.contains("data_offsets"))
    bad("dtype, shape and data_offsets are needed");
  const auto code = entry["dtype"].get<std::string>();
  const auto* known = std::find_if(std::begin(kCodes), std::end(kCodes),
                                   [&](const Code& c) { return code == c.text; });
  if (known == std::end(kCodes)) bad("dtype " + code + " is not supported");
  Shape shape;
  for (const json& d : entry["shape"]) shape.push_back(static_cast<std::int64_t>(number(d)));
  const json& offsets = entry["data_offsets"];
  if (!offsets.is_array() || offsets.size() != 2) bad("data_offsets needs two numbers");
  const std::uint64_t begin = number(offsets[0]), end = number(offsets[1]);
  const std::uint64_t need =
      static_cast<std::uint64_t>(element_count(shape)) * size_of(known->dtype);
  if (begin > end || end > have)
    bad("bytes " + std::to_string(begin) + " to " + std::to_string(end) +
        " lie outside the file's " + std::to_string(have));
  if (end - begin != need)
    bad("shape " + to_string(shape) + " of " + code + " needs " + std::to_string(need) +
        " bytes, " + std::to_string(end - begin) + " are given");
  return {.begin = begin,
          .dtype = known->dtype,
          .shape = std::move(shape),
          .swapped = false,
          .crc = {},
          .crc_before = 0,
          .part = name};
}

// The header, and where the elements begin.
std::pair<json, std::uint64_t> parse_header(const Source& source) {
  std::array<unsigned char, 8> fixed{};
  if (source.size < fixed.size()) throw std::invalid_argument("too short for a safetensors file");
  source.read(0, std::as_writable_bytes(std::span(fixed)), "");
  std::uint64_t length = 0;
  for (int i = 7; i >= 0; --i) length = length << 8 | fixed[static_cast<std::size_t>(i)];
  if (length > std::min(source.size - fixed.size(), kLongestHeader))
    throw std::invalid_argument("the header is cut short or too long: " + std::to_string(length) +
                                " bytes, the file has " + std::to_string(source.size));
  std::string text(length, '\0');
  source.read(fixed.size(), std::as_writable_bytes(std::span(text)), "");
  constexpr int kDeepest = 3;  // a number of a tensor's shape
  json header = json::parse(text, [](int depth, json::parse_event_t, const json&) {
    if (depth > kDeepest) throw std::invalid_argument("the header is nested too deeply");
    return true;
  });
  if (!header.is_object()) throw std::invalid_argument("the header is not a JSON object");
  return {std::move(header), fixed.size() + length};
}

// No byte is two tensors', so that a file has no more elements than bytes.
void check_overlap(std::vector<io::Stored> tensors) {
  const auto end_of = [](const io::Stored& t) {
    return t.begin + static_cast<std::uint64_t>(element_count(t.shape)) * size_of(t.dtype);
  };
  std::sort(tensors.begin(), tensors.end(), [&](const io::Stored& a, const io::Stored& b) {
    return std::pair(a.begin, end_of(a)) < std::pair(b.begin, end_of(b));
  });
  for (std::size_t i = 1; i < tensors.size(); ++i)
    if (tensors[i].begin < end_of(tensors[i - 1]))
      throw std::invalid_argument(tensors[i].part + " and " + tensors[i - 1].part + " overlap");
}

}  // namespace

std::pair<ArrayMap, StringMap> load_safetensors(const Ref<const Source>& source, StreamOrDevice s) {
  std::pair<ArrayMap, StringMap> out;
  std::string of;  // the tensor that is read
  try {
    const auto [header, start] = parse_header(*source);
    std::vector<io::Stored> tensors;
    for (const auto& [name, entry] : header.items()) {
      of = name == kMetadata ? "" : "tensor '" + name + "'";
      if (name == kMetadata)
        for (const auto& [key, value] : entry.items()) out.second[key] = value.get<std::string>();
      else
        tensors.push_back(tensor(of, entry, source->size - start));
    }
    of.clear();
    check_overlap(tensors);
    auto next = tensors.begin();
    for (const auto& [name, entry] : header.items()) {
      if (name == kMetadata) continue;
      next->begin += start;
      out.first.emplace(name, io::stored_array(source, std::move(*next++), s));
    }
  } catch (const std::logic_error& e) {
    io::fail(kLoad, source->name, of + (of.empty() ? "" : ": ") + e.what());
  } catch (const json::exception& e) {
    io::fail(kLoad, source->name, "the header is malformed: " + std::string(e.what()));
  }
  return out;
}

void save_safetensors(const Sink& out, const ArrayMap& arrays, const StringMap& metadata) {
  if (arrays.contains(kMetadata))
    throw std::invalid_argument("save_safetensors: no array can have the name '__metadata__'");
  json header = json::object();
  if (!metadata.empty()) header[kMetadata] = metadata;
  std::uint64_t offset = 0;
  // The largest elements first, so that every tensor is aligned for its type.
  std::vector<const ArrayMap::value_type*> order;
  for (const auto& item : arrays) order.push_back(&item);
  std::stable_sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return a->second.itemsize() > b->second.itemsize();
  });
  for (const auto* item : order) {
    const array& a = item->second;
    header[item->first] = {{"dtype", kCodes[static_cast<int>(a.dtype())].text},
                           {"shape", std::vector<std::int64_t>(a.shape().begin(), a.shape().end())},
                           {"data_offsets", {offset, offset + a.nbytes()}}};
    offset += a.nbytes();
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const json::exception& e) {
    throw std::invalid_argument(std::string("save_safetensors: ") + e.what());
  }
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
