// Writing GGUF, version 3.
#include <algorithm>
#include <vector>

#include "cermet/eval.h"
#include "cermet/ops.h"
#include "io/gguf.h"

namespace cermet {
namespace {

constexpr const char* kOperation = "save_gguf";

[[noreturn]] void refuse(const std::string& what) {
  throw std::invalid_argument(std::string(kOperation) + ": " + what);
}

struct Header {
  std::string text;
  template <class T>
  void number(T value) {
    text.append(reinterpret_cast<const char*>(&value), sizeof(T));
  }
  void add(const std::string& part) {
    number(std::uint64_t{part.size()});
    text += part;
  }
};

std::uint32_t code_of(const GgufValue& value) {
  if (const auto* numbers = std::get_if<array>(&value.is))
    return numbers->ndim() > 0 ? io::kGgufList : *io::gguf_number_code(numbers->dtype());
  return std::holds_alternative<std::string>(value.is) ? io::kGgufText : io::kGgufList;
}

// A value behind its type.
void add_value(Header& out, const std::string& key, const GgufValue& value, int depth) {
  const std::string what = "metadata '" + key + "': ";
  if (depth > io::kGgufDeepest) refuse(what + "lists are nested too deep");
  if (const auto* text = std::get_if<std::string>(&value.is)) return out.add(*text);
  if (const auto* numbers = std::get_if<array>(&value.is)) {
    const array rows = contiguous(*numbers);
    rows.eval();
    if (rows.ndim() > 0) {
      out.number(*io::gguf_number_code(rows.dtype()));
      out.number(static_cast<std::uint64_t>(rows.size()));
    }
    const auto bytes = io::bytes_of(rows);
    out.text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return;
  }
  const auto& list = std::get<std::vector<GgufValue>>(value.is);
  const std::uint32_t code = list.empty() ? io::kGgufText : code_of(list.front());
  if (code != io::kGgufText && code != io::kGgufList)
    refuse(what + "the numbers of a list are to be one array");
  out.number(code);
  out.number(std::uint64_t{list.size()});
  for (const GgufValue& item : list) {
    if (code_of(item) != code) refuse(what + "a list of texts and others");
    add_value(out, key, item, depth + 1);
  }
}

void check_numbers(const std::string& key, const GgufValue& value) {
  if (const auto* numbers = std::get_if<array>(&value.is)) {
    if (numbers->ndim() > 1)
      refuse("metadata '" + key + "' has shape " + to_string(numbers->shape()) +
             ", at most one axis is expected");
    if (!io::gguf_number_code(numbers->dtype()))
      refuse("metadata '" + key + "' is of " + std::string(name_of(numbers->dtype())) +
             ", which GGUF has not for metadata");
  } else if (const auto* list = std::get_if<std::vector<GgufValue>>(&value.is)) {
    for (const GgufValue& item : *list) check_numbers(key, item);
  }
}

struct Written {
  const io::GgufType* type;
  Shape shape;
  std::uint64_t bytes;
};

Written written(const std::string& name, const array& a) {
  const io::GgufType* type = io::gguf_type(a.dtype());
  if (!type)
    refuse("'" + name + "' is of " + std::string(name_of(a.dtype())) + ", which GGUF has not");
  return {type, a.shape(), a.nbytes()};
}

}  // namespace

void save_gguf(const Sink& out, const ArrayMap& arrays, const GgufMetadata& metadata) {
  for (const auto& [key, value] : metadata) check_numbers(key, value);
  const std::uint64_t alignment = io::gguf_alignment(metadata, std::string(kOperation) + ": ");
  const auto padding = [&](std::uint64_t size) {
    return std::string((alignment - size % alignment) % alignment, '\0');
  };
  Header header{std::string(io::kGgufMagic)};
  header.number(io::kGgufVersion);
  header.number(std::uint64_t{arrays.size()});
  header.number(std::uint64_t{metadata.size()});
  for (const auto& [key, value] : metadata) {
    header.add(key);
    header.number(code_of(value));
    add_value(header, key, value, 0);
  }
  std::uint64_t offset = 0;
  for (const auto& [name, a] : arrays) {
    const Written tensor = written(name, a);
    header.add(name);
    header.number(static_cast<std::uint32_t>(tensor.shape.size()));
    for (std::size_t i = tensor.shape.size(); i-- > 0;) header.number(tensor.shape[i]);
    header.number(tensor.type->code);
    header.number(offset);
    offset += tensor.bytes + padding(tensor.bytes).size();
  }
  header.text += padding(header.text.size());
  out(io::bytes_of(header.text));
  for (const auto& [name, a] : arrays) {
    const array rows = contiguous(a);
    rows.eval();
    out(io::bytes_of(rows));
    out(io::bytes_of(padding(a.nbytes())));
  }
}

void save_gguf(const std::string& path, const ArrayMap& arrays, const GgufMetadata& metadata) {
  for (const auto& [name, a] : arrays) a.eval();
  replace_file(kOperation, path, [&](const Sink& out) { save_gguf(out, arrays, metadata); });
}

}  // namespace cermet
