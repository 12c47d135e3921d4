// Loading and saving: npy and safetensors by the library, npz through Python's zipfile. A file is a
// path or an object with read or write.
#include <nanobind/stl/map.h>

#include <filesystem>
#include <sstream>

#include "bindings.h"
#include "cermet/io.h"

namespace cermet::python {
namespace {

bool is_path(nb::handle file) {
  return nb::isinstance<nb::str>(file) || nb::hasattr(file, "__fspath__");
}

std::string path_of(nb::handle file) {
  const nb::object path = nb::steal(PyOS_FSPath(file.ptr()));
  if (!path) throw nb::python_error();
  return nb::cast<std::string>(path);
}

std::string with_suffix(std::string path, const std::string& suffix) {
  return path.ends_with(suffix) ? path : path + suffix;
}

// Runs a reader or writer; what is wrong inside a file is a ValueError.
template <class F>
auto with_value_errors(F&& f) {
  try {
    return f();
  } catch (const std::invalid_argument&) {
    throw;
  } catch (const std::runtime_error& e) {
    throw std::invalid_argument(e.what());
  }
}

// The same of a path; Python's open tells why a file cannot be opened.
template <class F>
auto with_path(const std::string& path, const char* mode, F&& f) {
  nb::module_::import_("builtins").attr("open")(path, mode).attr("close")();
  return with_value_errors(f);
}

// All bytes of an object with read.
std::istringstream stream_of(nb::handle file) {
  const auto bytes = nb::cast<nb::bytes>(file.attr("read")());
  return std::istringstream(std::string(bytes.c_str(), bytes.size()));
}

template <class F>
void write_bytes(nb::handle file, F&& f) {
  std::ostringstream out;
  f(out);
  const std::string text = std::move(out).str();
  file.attr("write")(nb::bytes(text.data(), text.size()));
}

std::string name_of_file(nb::handle file) {
  return nb::cast<std::string>(nb::str(nb::getattr(file, "name", nb::str("file"))));
}

// The format named, or that of the path, or that of an object's first bytes.
std::string format_of(nb::handle file, const std::optional<std::string>& format) {
  if (format) return *format;
  if (is_path(file)) {
    const std::string extension = std::filesystem::path(path_of(file)).extension().string();
    return extension.empty() ? "" : extension.substr(1);
  }
  const nb::object start = file.attr("tell")();
  const auto head = nb::cast<nb::bytes>(file.attr("read")(6));
  file.attr("seek")(start);
  const std::string_view magic(head.c_str(), head.size());
  if (magic.starts_with("\x93NUMPY")) return "npy";
  return magic.starts_with("PK") ? "npz" : "safetensors";
}

nb::object load_npz(nb::handle file) {
  const nb::module_ zipfile = nb::module_::import_("zipfile");
  const std::string name = is_path(file) ? path_of(file) : name_of_file(file);
  nb::dict out;
  try {
    const nb::object zip = zipfile.attr("ZipFile")(file);
    for (nb::handle entry : zip.attr("namelist")()) {
      std::string key = nb::cast<std::string>(entry);
      std::istringstream in = stream_of(zip.attr("open")(entry));
      array a = with_value_errors([&] { return load(in, name + "/" + key); });
      if (key.ends_with(".npy")) key.resize(key.size() - 4);
      out[nb::str(key.c_str())] = std::move(a);
    }
    zip.attr("close")();
  } catch (nb::python_error& e) {
    if (!e.matches(zipfile.attr("BadZipFile"))) throw;
    nb::raise_from(e, PyExc_ValueError, "load: %s is not a whole npz file", name.c_str());
  }
  return out;
}

nb::object load_file(nb::object file, const std::optional<std::string>& named, bool with_metadata) {
  const std::string format = format_of(file, named);
  const bool path = is_path(file);
  if (with_metadata && format != "safetensors")
    throw std::invalid_argument("load: a file of format '" + format + "' has no metadata");
  if (format == "npz") return load_npz(file);
  if (format == "npy") {
    if (path) return nb::cast(with_path(path_of(file), "rb", [&] { return load(path_of(file)); }));
    std::istringstream in = stream_of(file);
    return nb::cast(with_value_errors([&] { return load(in, name_of_file(file)); }));
  }
  if (format == "safetensors") {
    std::istringstream in;
    if (!path) in = stream_of(file);
    auto loaded =
        path ? with_path(path_of(file), "rb", [&] { return load_safetensors(path_of(file)); })
             : with_value_errors([&] { return load_safetensors(in, name_of_file(file)); });
    return with_metadata ? nb::cast(std::move(loaded)) : nb::cast(std::move(loaded.first));
  }
  throw std::invalid_argument("load: unknown format '" + format +
                              "'; expected npy, npz or safetensors");
}

void save_npy(nb::object file, const array& a) {
  evaluated(a);
  if (is_path(file)) {
    const std::string path = with_suffix(path_of(file), ".npy");
    with_path(path, "wb", [&] { save(path, a); });
  } else {
    write_bytes(file, [&](std::ostream& out) { save(out, a); });
  }
}

void save_npz(nb::object file, const nb::args& args, const nb::kwargs& kwargs, bool compressed) {
  const nb::module_ zipfile = nb::module_::import_("zipfile");
  if (is_path(file)) file = nb::str(with_suffix(path_of(file), ".npz").c_str());
  const nb::object zip =
      zipfile.attr("ZipFile")(file, "w", zipfile.attr(compressed ? "ZIP_DEFLATED" : "ZIP_STORED"));
  const auto add = [&](const std::string& name, const array& a) {
    evaluated(a);
    const nb::object entry = zip.attr("open")((name + ".npy").c_str(), "w");
    write_bytes(entry, [&](std::ostream& out) { save(out, a); });
    entry.attr("close")();
  };
  for (std::size_t i = 0; i < args.size(); ++i)
    add("arr_" + std::to_string(i), nb::cast<array>(args[i]));
  for (auto item : kwargs) add(nb::cast<std::string>(item.first), nb::cast<array>(item.second));
  zip.attr("close")();
}

void save_tensors(nb::object file, const ArrayMap& arrays,
                  const std::optional<StringMap>& metadata) {
  Arrays all;
  for (const auto& [name, a] : arrays) all.push_back(a);
  eval(all);
  const StringMap facts = metadata.value_or(StringMap());
  if (is_path(file)) {
    const std::string path = with_suffix(path_of(file), ".safetensors");
    with_path(path, "wb", [&] { save_safetensors(path, arrays, facts); });
  } else {
    write_bytes(file, [&](std::ostream& out) { save_safetensors(out, arrays, facts); });
  }
}

}  // namespace

void bind_io(nb::module_& m) {
  m.def(
      "load",
      [](nb::object file, const std::optional<std::string>& format, bool return_metadata,
         StreamOrDevice) { return load_file(std::move(file), format, return_metadata); },
      nb::sig(signature("load(file: typing.IO[bytes] | str | os.PathLike, /, "
                        "format: str | None = None, return_metadata: bool = False, *",
                        "array | dict[str, array] | tuple[dict[str, array], dict[str, typing.Any]]")
                  .c_str()),
      nb::arg(), "format"_a = nb::none(), "return_metadata"_a = false, nb::kw_only(),
      "stream"_a = nb::none(),
      "Reads a file of format npy (an array), npz or safetensors (a dict of arrays; with its "
      "metadata if asked). Raises OSError when it cannot be opened and ValueError when its content "
      "is wrong.");
  m.def("save", &save_npy,
        nb::sig("def save(file: typing.IO[bytes] | str | os.PathLike, arr: array) -> None"),
        "file"_a, "arr"_a, "Writes an array in NumPy's format npy.");
  for (const bool compressed : {false, true}) {
    const std::string name = compressed ? "savez_compressed" : "savez";
    m.def(
        name.c_str(),
        [compressed](nb::object file, const nb::args& args, const nb::kwargs& kwargs) {
          save_npz(std::move(file), args, kwargs, compressed);
        },
        nb::sig(
            ("def " + name +
             "(file: typing.IO[bytes] | str | os.PathLike, *args: array, **kwargs: array) -> None")
                .c_str()),
        "file"_a, "args"_a, "kwargs"_a,
        "Writes arrays in NumPy's format npz: under their keywords, others as arr_0, arr_1, ...");
  }
  m.def(
      "save_safetensors", &save_tensors,
      nb::sig("def save_safetensors(file: typing.IO[bytes] | str | os.PathLike, arrays: dict[str, "
              "array], metadata: dict[str, str] | None = None) -> None"),
      "file"_a, "arrays"_a, "metadata"_a = nb::none(),
      "Writes named arrays in the format safetensors.");
}

}  // namespace cermet::python
