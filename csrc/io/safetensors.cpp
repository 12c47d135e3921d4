// The safetensors format: the length of a JSON header, the header, the elements.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "cermet/io.h"
#include "cermet/ops.h"
#include "io/file.h"

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

array one_tensor(const Ref<Buffer>& bytes, std::size_t start, const std::string& name,
                 const json& entry, const std::string& file) {
  const auto bad = [&](const std::string& what) {
    io::fail(kLoad, file, "tensor '" + name + "': " + what);
  };
  if (!entry.is_object() || !entry.contains("dtype") || !entry.contains("shape") ||
      !entry.contains("data_offsets"))
    bad("dtype, shape and data_offsets are needed");
  const auto code = entry["dtype"].get<std::string>();
  const auto* known = std::find_if(std::begin(kCodes), std::end(kCodes),
                                   [&](const Code& c) { return code == c.text; });
  if (known == std::end(kCodes)) bad("dtype " + code + " is not supported");
  Shape shape;
  for (const auto& d : entry["shape"]) shape.push_back(d.get<std::int64_t>());
  const auto offsets = entry["data_offsets"].get<std::vector<std::size_t>>();
  if (offsets.size() != 2) bad("data_offsets needs two numbers");
  const std::size_t have = bytes->bytes() - start;
  const std::size_t need = static_cast<std::size_t>(element_count(shape)) * size_of(known->dtype);
  if (offsets[0] > offsets[1] || offsets[1] > have)
    bad("bytes " + std::to_string(offsets[0]) + " to " + std::to_string(offsets[1]) +
        " lie outside the file's " + std::to_string(have));
  if (offsets[1] - offsets[0] != need)
    bad("shape " + to_string(shape) + " of " + code + " needs " + std::to_string(need) +
        " bytes, " + std::to_string(offsets[1] - offsets[0]) + " are given");
  std::byte* data = static_cast<std::byte*>(bytes->data()) + start + offsets[0];
  if (reinterpret_cast<std::uintptr_t>(data) % size_of(known->dtype) != 0) {
    Ref<Buffer> copy = allocate(need);
    if (need) std::memcpy(copy->data(), data, need);
    return array(std::move(copy), shape, known->dtype);
  }
  const bool is_bool = known->dtype == Dtype::bool_;  // a file's bytes may be others than 0 and 1
  const Dtype stored = is_bool ? uint8 : known->dtype;
  return view(array(borrow(data, need, [keep = bytes] {}), shape, stored), known->dtype);
}

std::pair<ArrayMap, StringMap> from_bytes(const Ref<Buffer>& bytes, const std::string& file) {
  const auto* data = static_cast<const unsigned char*>(bytes->data());
  if (bytes->bytes() < 8) io::fail(kLoad, file, "too short for a safetensors file");
  std::uint64_t length = 0;
  for (int i = 7; i >= 0; --i) length = length << 8 | data[i];
  if (length > bytes->bytes() - 8)
    io::fail(kLoad, file, "the header is cut short: " + std::to_string(length) + " bytes expected");
  std::pair<ArrayMap, StringMap> out;
  try {
    const json header = json::parse(data + 8, data + 8 + length);
    if (!header.is_object()) io::fail(kLoad, file, "the header is not a JSON object");
    for (const auto& [name, entry] : header.items()) {
      if (name == "__metadata__") {
        for (const auto& [key, value] : entry.items()) out.second[key] = value.get<std::string>();
        continue;
      }
      out.first.emplace(name, one_tensor(bytes, 8 + length, name, entry, file));
    }
  } catch (const json::exception& e) {
    io::fail(kLoad, file, std::string("the header is malformed: ") + e.what());
  } catch (const std::logic_error& e) {
    io::fail(kLoad, file, e.what());
  }
  return out;
}

}  // namespace

void save_safetensors(std::ostream& out, const ArrayMap& arrays, const StringMap& metadata) {
  json header = json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  Arrays values;
  std::size_t offset = 0;
  // The largest elements first, so that every tensor is aligned for its type.
  std::vector<const ArrayMap::value_type*> order;
  for (const auto& item : arrays) order.push_back(&item);
  std::stable_sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return a->second.itemsize() > b->second.itemsize();
  });
  for (const auto* item : order) {
    const array& a = item->second;
    values.push_back(contiguous(a));
    header[item->first] = {{"dtype", kCodes[static_cast<int>(a.dtype())].text},
                           {"shape", std::vector<std::int64_t>(a.shape().begin(), a.shape().end())},
                           {"data_offsets", {offset, offset + a.nbytes()}}};
    offset += a.nbytes();
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  char length[8];
  for (int i = 0; i < 8; ++i) length[i] = static_cast<char>(text.size() >> (8 * i));
  out.write(length, 8);
  out << text;
  for (const array& a : values)
    out.write(static_cast<const char*>(a.raw_data()), static_cast<std::streamsize>(a.nbytes()));
}

// The file is written beside its place and moved there: an array may be mapped from the very file
// that is to be replaced, and a failure leaves that one whole.
void save_safetensors(const std::string& path, const ArrayMap& arrays, const StringMap& metadata) {
  for (const auto& [name, a] : arrays) a.eval();
  const std::string beside = path + ".part";
  std::ofstream out(beside, std::ios::binary);
  if (!out) io::fail("save_safetensors", path, "cannot be opened for writing");
  save_safetensors(out, arrays, metadata);
  out.close();
  if (!out || std::rename(beside.c_str(), path.c_str()) != 0) {
    std::remove(beside.c_str());
    io::fail("save_safetensors", path, "could not be written whole");
  }
}

std::pair<ArrayMap, StringMap> load_safetensors(const std::string& path) {
  return from_bytes(io::map_file(kLoad, path), path);
}
std::pair<ArrayMap, StringMap> load_safetensors(std::istream& in, const std::string& name) {
  return from_bytes(io::read_all(in), name);
}

}  // namespace cermet
