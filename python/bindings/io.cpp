// Loading and saving: a file is a path, or an object with read or write. What nanobind would
// convert where no exception may leave, is converted here.
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <tuple>

#include "bindings.h"
#include "cermet/io.h"
#include "interpreter.h"
#include "paths.h"

namespace cermet::python {
namespace {

nb::bytes to_bytes(std::span<const std::byte> bytes) {
  return nb::bytes(bytes.data(), bytes.size());
}
std::span<const std::byte> view_of(const nb::bytes& bytes) {
  return {static_cast<const std::byte*>(bytes.data()), bytes.size()};
}
// What Python's readers and writers of memory take, for the time of a call.
nb::object memory_of(std::span<const std::byte> bytes) {
  char* data = const_cast<char*>(reinterpret_cast<const char*>(bytes.data()));
  nb::object view =
      nb::steal(PyMemoryView_FromMemory(data, static_cast<Py_ssize_t>(bytes.size()), PyBUF_READ));
  if (!view) throw nb::python_error();
  return view;
}

// ---- Reading ----

// All bytes of an object with read.
nb::bytes read_all(nb::handle file) {
  if (!nb::hasattr(file, "read"))
    wrong_type("load: expected a path or an object with the method read", file);
  nb::object bytes = file.attr("read")();
  if (!PyBytes_Check(bytes.ptr()))
    wrong_type("load: read() is to give bytes (of a file opened in binary mode)", bytes);
  return nb::borrow<nb::bytes>(bytes);
}

std::string name_of(nb::handle file) {
  const nb::object name = nb::getattr(file, "name", nb::none());
  return PyUnicode_Check(name.ptr()) ? path_of(name) : "file";
}

// The format that a path's suffix or a file's first bytes tell.
std::string format_of_path(const std::string& path) {
  const std::string extension = std::filesystem::path(path).extension().string();
  return extension.empty() ? "" : extension.substr(1);
}
std::string format_of_bytes(const nb::bytes& bytes) {
  const std::string_view start(bytes.c_str(), bytes.size());
  if (start.starts_with("\x93NUMPY")) return "npy";
  if (start.starts_with("GGUF")) return "gguf";
  return start.starts_with("PK") ? "npz" : "safetensors";
}

void inflate(const std::string& name, std::span<const std::byte> from, std::span<std::byte> to) {
  const nb::gil_scoped_acquire lock;
  const nb::module_ zlib = nb::module_::import_("zlib");
  try {
    const nb::object raw = zlib.attr("decompressobj")(-15);
    const nb::object bytes = raw.attr("decompress")(memory_of(from), to.size() + 1);
    if (nb::len(bytes) == to.size()) {
      std::memcpy(to.data(), PyBytes_AS_STRING(bytes.ptr()), to.size());
      return;
    }
  } catch (nb::python_error& e) {
    if (!e.matches(zlib.attr("error"))) throw;
  }
  throw FormatError("load: " + name + ": a member's compressed bytes are broken");
}

// A file's text, which may be of any encoding.
nb::object to_text(const std::string& text) {
  nb::object out = nb::steal(
      PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "backslashreplace"));
  if (!out) throw nb::python_error();
  return out;
}

nb::object to_object(array& value) { return nb::cast(std::move(value)); }
nb::object to_object(const std::string& value) { return to_text(value); }
nb::object to_object(GgufValue& value) {
  auto* list = std::get_if<std::vector<GgufValue>>(&value.is);
  if (!list) {
    if (auto* numbers = std::get_if<array>(&value.is)) return to_object(*numbers);
    return to_text(std::get<std::string>(value.is));
  }
  nb::list out;
  for (GgufValue& item : *list) out.append(to_object(item));
  return out;
}

template <class Named>
nb::dict to_dict(Named& named) {
  nb::dict out;
  for (auto& [name, value] : named) out[to_text(name)] = to_object(value);
  return out;
}

nb::object load_file(nb::handle file, nb::handle named, bool with_metadata, StreamOrDevice s) {
  const bool by_path = is_path(file);
  const std::string path = by_path ? path_of(file) : name_of(file);
  const nb::bytes bytes = by_path ? nb::bytes("", 0) : read_all(file);
  const std::string format = !named.is_none() ? text_of(named, "load: format")
                             : by_path        ? format_of_path(path)
                                              : format_of_bytes(bytes);
  if (format != "npy" && format != "npz" && format != "safetensors" && format != "gguf")
    throw std::invalid_argument("load: unknown format '" + format +
                                "'; expected npy, npz, safetensors or gguf");
  if (with_metadata && format != "safetensors" && format != "gguf")
    throw std::invalid_argument("load: a file of format '" + format + "' has no metadata");
  std::optional<array> one;
  NamedArrays several;
  ArrayMap tensors;
  StringMap facts;
  GgufMetadata values;
  {
    const std::span<const std::byte> memory = view_of(bytes);
    const Unlocked unlocked;
    const auto source = by_path ? open_file("load", path) : in_memory(memory, path);
    if (format == "npy")
      one = load(source, s);
    else if (format == "npz")
      several = load_npz(source, [&](auto from, auto to) { inflate(path, from, to); }, s);
    else if (format == "gguf")
      std::tie(tensors, values) = load_gguf(source, s);
    else
      std::tie(tensors, facts) = load_safetensors(source, s);
  }
  if (one) return nb::cast(std::move(*one));
  if (format == "npz") return to_dict(several);
  nb::dict arrays = to_dict(tensors);
  if (!with_metadata) return arrays;
  return nb::make_tuple(arrays, format == "gguf" ? to_dict(values) : to_dict(facts));
}

// ---- Writing ----

// Has `write` fill a path, to which the suffix is added where it lacks, or an object with write.
template <class F>
void write_file(const char* operation, nb::handle file, const std::string& suffix, F&& write) {
  if (is_path(file)) {
    std::string path = path_of(file);
    if (!path.ends_with(suffix)) path += suffix;
    const Unlocked unlocked;
    return replace_file(operation, path, write);
  }
  if (!nb::hasattr(file, "write"))
    wrong_type(std::string(operation) + ": expected a path or an object with the method write",
               file);
  write([&](std::span<const std::byte> bytes) {
    constexpr std::size_t kPiece = 1 << 24;  // copied, as the object may keep it
    while (!bytes.empty()) {
      const nb::bytes piece = to_bytes(bytes.first(std::min(bytes.size(), kPiece)));
      const nb::object written = file.attr("write")(piece);
      std::size_t n = piece.size();
      if (PyLong_Check(written.ptr())) n = nb::cast<std::size_t>(written);  // an unbuffered file's
      if (n == 0 || n > piece.size())
        throw FileError(operation, name_of(file), EIO,
                        "write() wrote " + std::to_string(n) + " of " +
                            std::to_string(piece.size()) + " bytes");
      bytes = bytes.subspan(n);
    }
  });
}

array array_of(const char* operation, const std::string& name, nb::handle value) {
  const array* a = as_array(value);
  if (!a) wrong_type(std::string(operation) + ": '" + name + "' is to be an array", value);
  return *a;
}

void save_one(nb::handle file, const array& a) {
  const array kept = evaluated(a);
  write_file("save", file, ".npy", [&](const Sink& out) { save(out, kept); });
}

std::string deflate(std::span<const std::span<const std::byte>> pieces) {
  const nb::gil_scoped_acquire lock;
  const nb::module_ zlib = nb::module_::import_("zlib");
  const nb::object raw = zlib.attr("compressobj")(-1, 8, -15);
  std::string out;
  const auto add = [&](const nb::object& bytes) {
    out.append(PyBytes_AS_STRING(bytes.ptr()), nb::len(bytes));
  };
  for (const auto& piece : pieces) add(raw.attr("compress")(memory_of(piece)));
  add(raw.attr("flush")());
  return out;
}

// Arrays as positional arguments and as keywords.
class Members {
 public:
  explicit Members(bool compressed) : operation_(compressed ? "savez_compressed" : "savez") {
    if (compressed) deflate_ = deflate;
  }
  void add(std::string name, nb::handle value) {
    all_.push_back(array_of(operation_, name, value));
    arrays_.emplace_back(std::move(name), all_.back());
  }
  void add(const nb::dict& named) {
    for (auto [name, value] : named) add(text_of(name, "savez: a name"), value);
  }
  void save(nb::handle file) const {
    eval(all_);
    write_file(operation_, file, ".npz",
               [&](const Sink& out) { save_npz(out, arrays_, deflate_); });
  }

 private:
  const char* const operation_;
  Deflate deflate_;
  NamedArrays arrays_;
  Arrays all_;
};

nb::dict dict_of(const char* operation, nb::handle dict, const char* what) {
  if (!PyDict_Check(dict.ptr())) wrong_type(std::string(operation) + ": " + what, dict);
  return nb::borrow<nb::dict>(dict);
}
// Named arrays, all of them evaluated.
ArrayMap named_arrays(const char* operation, nb::handle dict) {
  const std::string what = std::string(operation) + ": a name";
  ArrayMap named;
  Arrays all;
  for (auto [key, value] : dict_of(operation, dict, "arrays is to be a dict of arrays")) {
    std::string name = text_of(key, what.c_str());
    all.push_back(array_of(operation, name, value));
    named.emplace(std::move(name), all.back());
  }
  eval(all);
  return named;
}

void save_tensors(nb::handle file, nb::handle arrays, nb::handle metadata) {
  constexpr const char* kOperation = "save_safetensors";
  StringMap facts;
  if (!metadata.is_none())
    for (auto [key, value] : dict_of(kOperation, metadata, "metadata is to be a dict of str"))
      facts.emplace(text_of(key, "save_safetensors: a name of metadata"),
                    text_of(value, "save_safetensors: metadata"));
  const ArrayMap named = named_arrays(kOperation, arrays);
  write_file(kOperation, file, ".safetensors",
             [&](const Sink& out) { save_safetensors(out, named, facts); });
}

constexpr const char* kSaveGguf = "save_gguf";

GgufValue metadata_value(const std::string& name, nb::handle value, int depth) {
  if (const array* numbers = as_array(value)) return {evaluated(*numbers)};
  if (PyUnicode_Check(value.ptr())) return {text_of(value, kSaveGguf)};
  constexpr int kDeepest = 100;  // more than any file has
  if (depth > kDeepest || !(PyList_Check(value.ptr()) || PyTuple_Check(value.ptr())))
    wrong_type(std::string(kSaveGguf) + ": metadata '" + name +
                   "' is to be an array, a str or a list of str",
               value);
  std::vector<GgufValue> list;
  for (const nb::handle item : nb::borrow<nb::sequence>(value))
    list.push_back(metadata_value(name, item, depth + 1));
  return {std::move(list)};
}

void save_blocks(nb::handle file, nb::handle arrays, nb::handle metadata) {
  GgufMetadata values;
  if (!metadata.is_none())
    for (auto [key, value] : dict_of(kSaveGguf, metadata, "metadata is to be a dict")) {
      const std::string name = text_of(key, "save_gguf: a name of metadata");
      values.emplace(name, metadata_value(name, value, 0));
    }
  const ArrayMap named = named_arrays(kSaveGguf, arrays);
  write_file(kSaveGguf, file, ".gguf", [&](const Sink& out) { save_gguf(out, named, values); });
}

void translate(const std::exception_ptr& error, void*) {
  const auto decoded = [](const std::string& text) {
    return nb::steal(PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()),
                                          "backslashreplace"));
  };
  try {
    std::rethrow_exception(error);
  } catch (const FileError& e) {
    const nb::object text = decoded(e.text());
    const nb::object file = nb::steal(PyUnicode_DecodeFSDefaultAndSize(
        e.file().data(), static_cast<Py_ssize_t>(e.file().size())));
    if (!text || !file) return;
    // The class follows from the number: FileNotFoundError, PermissionError, ...
    const nb::object exception = nb::steal(
        PyObject_CallFunction(PyExc_OSError, "iOO", e.code().value(), text.ptr(), file.ptr()));
    if (exception)
      PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(exception.ptr())), exception.ptr());
  } catch (const FormatError& e) {
    if (const nb::object text = decoded(e.what())) PyErr_SetObject(PyExc_ValueError, text.ptr());
  }
}

}  // namespace

void bind_io(nb::module_& m) {
  nb::register_exception_translator(translate);
  m.def(
      "load", &load_file,
      nb::sig(signature("load(file: typing.IO[bytes] | str | os.PathLike, /, "
                        "format: str | None = None, return_metadata: bool = False, *",
                        "array | dict[str, array] | tuple[dict[str, array], dict[str, typing.Any]]")
                  .c_str()),
      nb::arg(), "format"_a = nb::none(), "return_metadata"_a = false, nb::kw_only(),
      "stream"_a = nb::none(),
      "Loads a file of format npy (an array), npz, safetensors or gguf (a dict of arrays; of the "
      "last two with its metadata if asked). The arrays are lazy: each is read when it is first "
      "evaluated, which is "
      "an OSError where the file has changed since. Raises OSError when the file cannot be read "
      "and ValueError when its content is wrong.");
  m.def("save", &save_one,
        nb::sig("def save(file: typing.IO[bytes] | str | os.PathLike, arr: array) -> None"),
        "file"_a, "arr"_a,
        "Writes an array in NumPy's format npy. A file is replaced when the new one is whole; "
        "whatever fails, the old one stays.");
  for (const bool compressed : {false, true}) {
    const std::string name = compressed ? "savez_compressed" : "savez";
    m.def(
        name.c_str(),
        [compressed](nb::handle file, const nb::args& args, const nb::kwargs& kwargs) {
          Members members(compressed);
          for (std::size_t i = 0; i < args.size(); ++i)
            members.add("arr_" + std::to_string(i), args[i]);
          members.add(kwargs);
          members.save(file);
        },
        nb::sig(
            ("def " + name +
             "(file: typing.IO[bytes] | str | os.PathLike, *args: array, **kwargs: array) -> None")
                .c_str()),
        "file"_a, "args"_a, "kwargs"_a,
        "Writes arrays in NumPy's format npz: under their keywords, others as arr_0, arr_1, ... A "
        "file is replaced when the new one is whole; whatever fails, the old one stays.");
  }
  m.def(
      "_savez",
      [](nb::handle file, const nb::dict& arrays) {
        Members members(false);
        members.add(arrays);
        members.save(file);
      },
      "file"_a, "arrays"_a, "savez of more arrays than a call has keywords.");
  m.def(
      "save_safetensors", &save_tensors,
      nb::sig("def save_safetensors(file: typing.IO[bytes] | str | os.PathLike, arrays: dict[str, "
              "array], metadata: dict[str, str] | None = None) -> None"),
      "file"_a, "arrays"_a, "metadata"_a = nb::none(),
      "Writes named arrays in the format safetensors. A file is replaced when the new one is "
      "whole; whatever fails, the old one stays.");
  m.def(
      "save_gguf", &save_blocks,
      nb::sig("def save_gguf(file: typing.IO[bytes] | str | os.PathLike, arrays: dict[str, array], "
              "metadata: dict[str, array | str | list[str]]) -> None"),
      "file"_a, "arrays"_a, "metadata"_a = nb::none(),
      "Writes named arrays in the format GGUF, with metadata: arrays of at most one axis, texts "
      "and "
      "lists of texts. A file is replaced when the new one is whole; whatever fails, the old one "
      "stays.");
}

}  // namespace cermet::python
