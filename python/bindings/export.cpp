// Functions in files, and graphs as text.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include "bindings.h"
#include "cermet/export.h"
#include "interpreter.h"
#include "paths.h"
#include "transforms.h"

namespace cermet::python {
namespace {

// ---- Arguments: arrays by position and by name, or a tuple or list and a dict of them ----

struct Arguments {
  Arrays args;
  ArrayMap kwargs;
};

[[noreturn]] void wrong_arguments(const char* op) {
  throw std::invalid_argument(std::string(op) +
                              ": the inputs are arrays, by position and by keyword, or one tuple "
                              "or list and/or one dict of str and arrays");
}

void add_positional(nb::handle list, Arrays& to, const char* op) {
  for (Py_ssize_t i = 0; i < Py_SIZE(list.ptr()); ++i) {
    const array* a = as_array(PySequence_Fast_GET_ITEM(list.ptr(), i));
    if (!a) wrong_arguments(op);
    to.push_back(*a);
  }
}
void add_named(nb::handle dict, ArrayMap& to, const char* op) {
  for (auto [key, value] : nb::borrow<nb::dict>(dict)) {
    const array* a = as_array(value);
    if (!a || !PyUnicode_Check(key.ptr())) wrong_arguments(op);
    to.emplace(text_of(key, "a keyword"), *a);
  }
}

Arguments arguments_of(const nb::args& args, const nb::kwargs& kwargs, const char* op) {
  Arguments all;
  const std::size_t n = args.size();
  const bool tuple = n > 0 && (PyTuple_Check(args[0].ptr()) || PyList_Check(args[0].ptr()));
  const bool dict = n > tuple && PyDict_Check(args[tuple].ptr());
  if (!tuple && !dict) {
    add_positional(args, all.args, op);
    add_named(kwargs, all.kwargs, op);
    return all;
  }
  if (n > std::size_t{tuple} + dict || kwargs.size() != 0) wrong_arguments(op);
  if (tuple) add_positional(args[0], all.args, op);
  if (dict) add_named(args[tuple], all.kwargs, op);
  return all;
}

NamedFunction named_function(nb::handle fun) {
  return [fun = share(nb::borrow(fun))](const Arrays& args, const ArrayMap& kwargs) {
    nb::list positional;
    for (const array& a : args) positional.append(nb::cast(a));
    nb::dict named;
    for (const auto& [name, a] : kwargs) named[nb::str(name.c_str(), name.size())] = nb::cast(a);
    const nb::object result = call(*fun, nb::make_tuple(nb::tuple(positional), named));
    Arrays outputs;
    if (const array* one = as_array(result)) return Arrays{*one};
    const bool list = PyTuple_Check(result.ptr()) || PyList_Check(result.ptr());
    for (Py_ssize_t i = 0; list && i < Py_SIZE(result.ptr()); ++i)
      if (const array* a = as_array(PySequence_Fast_GET_ITEM(result.ptr(), i)))
        outputs.push_back(*a);
    if (!list || std::ssize(outputs) != Py_SIZE(result.ptr()))
      throw std::invalid_argument(
          "export_function: the function is to return an array, or a tuple or list of arrays, "
          "not " +
          class_name(result));
    return outputs;
  };
}

// ---- Exporting ----

std::string metadata_of(nb::handle metadata) {
  return metadata.is_none() ? "" : text_of(metadata, "export_function: metadata");
}

class Exporter {
 public:
  Exporter(nb::handle file, nb::handle fun, bool shapeless, nb::handle metadata)
      : exporter_(path_of(file), named_function(fun), shapeless, metadata_of(metadata)) {}
  void operator()(const nb::args& args, const nb::kwargs& kwargs) {
    const Arguments all = arguments_of(args, kwargs, "exporter");
    if (writing_) refuse("its file is being written");
    const Use use(traces_);
    exporter_(all.args, all.kwargs);
  }
  void close() {
    if (traces_ > 0) refuse("its function is being traced");
    if (writing_ > 0) refuse("its file is being written");
    const Use use(writing_);
    const Unlocked unlocked;
    exporter_.close();
  }

 private:
  struct Use {
    explicit Use(int& count) : count(count) { ++count; }
    ~Use() { --count; }
    int& count;
  };
  [[noreturn]] static void refuse(const char* why) {
    throw std::runtime_error(std::string("exporter: ") + why);
  }

  FunctionExporter exporter_;
  int traces_ = 0, writing_ = 0;  // under Python's lock, which both let go of meanwhile
};

nb::object to_python(const ExportedArgument& argument) {
  return std::visit(
      []<class T>(const T& v) -> nb::object {
        if constexpr (std::is_same_v<T, std::monostate>) {
          return nb::none();
        } else if constexpr (std::is_same_v<T, std::vector<std::int64_t>>) {
          nb::list list;
          for (const std::int64_t n : v) list.append(n);
          return nb::tuple(list);
        } else {
          return nb::cast(v);
        }
      },
      argument);
}
nb::list to_python(const std::vector<ExportedArray>& arrays) {
  nb::list list;
  for (const ExportedArray& a : arrays) {
    nb::list extents;
    for (const std::int64_t n : a.shape) extents.append(n);
    list.append(nb::make_tuple(a.name, nb::tuple(extents), nb::cast(a.dtype)));
  }
  return list;
}

// Calls back with a dict for each part of the export.
void tell(nb::handle callback, const ExportedGraph& graph) {
  const auto part = [&](const char* type, const char* key, nb::object value) {
    nb::dict d;
    d["type"] = type;
    d[key] = std::move(value);
    callback(d);
  };
  nb::list keywords, constants;
  for (const auto& [name, a] : graph.keywords) keywords.append(nb::make_tuple(name, a));
  for (const auto& [name, a] : graph.constants) constants.append(nb::make_tuple(name, nb::cast(a)));
  part("inputs", "inputs", to_python(graph.inputs));
  part("keyword_inputs", "keywords", keywords);
  part("outputs", "outputs", to_python(graph.outputs));
  part("constants", "constants", constants);
  for (const ExportedPrimitive& p : graph.primitives) {
    nb::list arguments;
    for (const auto& a : p.arguments) arguments.append(to_python(a));
    nb::dict d;
    d["type"] = "primitive";
    d["name"] = p.name;
    d["inputs"] = to_python(p.inputs);
    d["outputs"] = to_python(p.outputs);
    d["arguments"] = arguments;
    callback(d);
  }
}

// ---- Importing ----

nb::object imported(nb::handle file, bool return_metadata) {
  const std::string path = path_of(file);
  const ImportedFunction f = [&] {
    const Unlocked unlocked;
    return import_function(path);
  }();
  nb::object callable = nb::cpp_function(
      [f](const nb::args& args, const nb::kwargs& kwargs) {
        const Arguments all = arguments_of(args, kwargs, "import_function");
        nb::list results;
        for (const array& a : f(all.args, all.kwargs)) results.append(nb::cast(a));
        return nb::tuple(results);
      },
      "args"_a, "kwargs"_a, nb::name("imported_function"));
  if (!return_metadata) return callable;
  return nb::make_tuple(callable, nb::str(f.metadata().c_str(), f.metadata().size()));
}

void write_dot(nb::handle file, const nb::args& args, const nb::kwargs& kwargs) {
  constexpr const char* kOperation = "export_to_dot";
  Arrays outputs;
  for (const nb::handle arg : args) flatten_only_arrays(arg, outputs, kOperation);
  NamedArrays names;
  for (auto [key, value] : kwargs) {
    const array* a = as_array(value);
    if (!a)
      throw std::invalid_argument(std::string(kOperation) + ": names are of arrays, not of " +
                                  class_name(value));
    names.emplace_back(text_of(key, "a keyword"), *a);
  }
  const std::string text = to_dot(outputs, names);
  if (is_path(file)) {
    const std::string path = path_of(file);
    const Unlocked unlocked;
    return replace_file(kOperation, path,
                        [&](const Sink& out) { out(std::as_bytes(std::span(text))); });
  }
  if (!nb::hasattr(file, "write"))
    throw std::invalid_argument(std::string(kOperation) +
                                ": expected a path or an object with the method write, got " +
                                class_name(file));
  file.attr("write")(nb::str(text.c_str(), text.size()));
}

}  // namespace

void bind_export(nb::module_& m) {
  nb::class_<Exporter>(m, "FunctionExporter",
                       "Traces a function for the inputs of each call, and writes all of them to a "
                       "file when it is closed, as a context that ends does. See `exporter`.")
      .def("__call__", &Exporter::operator(), "args"_a, "kwargs"_a,
           nb::sig("def __call__(self, *args: typing.Any, **kwargs: typing.Any) -> None"),
           "Traces the function for such inputs. RuntimeError where that was done before.")
      .def("close", &Exporter::close,
           "Writes the file. What was there before is replaced when the new one is whole.")
      .def(
          "__enter__", [](nb::handle self) { return nb::borrow(self); },
          nb::sig("def __enter__(self) -> FunctionExporter"))
      .def(
          "__exit__",
          [](Exporter& self, nb::handle type, nb::handle, nb::handle) {
            if (type.is_none()) self.close();
          },
          "exc_type"_a.none() = nb::none(), "exc_value"_a.none() = nb::none(),
          "traceback"_a.none() = nb::none(),
          nb::sig("def __exit__(self, exc_type: object | None = None, exc_value: object | None = "
                  "None, traceback: object | None = None) -> None"),
          "Writes the file, unless an exception ends the context.");
  m.def(
      "export_function",
      [](nb::handle target, nb::handle fun, const nb::args& args, bool shapeless,
         nb::handle metadata, const nb::kwargs& kwargs) {
        if (!PyCallable_Check(fun.ptr()))
          throw nb::type_error(
              ("export_function: a function is needed, not " + class_name(fun)).c_str());
        const Arguments all = arguments_of(args, kwargs, "export_function");
        if (is_path(target)) {
          FunctionExporter exporter(path_of(target), named_function(fun), shapeless,
                                    metadata_of(metadata));
          exporter(all.args, all.kwargs);
          const Unlocked unlocked;
          return exporter.close();
        }
        if (!PyCallable_Check(target.ptr()))
          throw nb::type_error(
              ("export_function: a path or a function is needed, not " + class_name(target))
                  .c_str());
        if (!metadata.is_none())
          throw std::invalid_argument("export_function: metadata is for files only");
        tell(target, describe_export(named_function(fun), all.args, all.kwargs, shapeless));
      },
      "file_or_callback"_a, "fun"_a, "args"_a, nb::kw_only(), "shapeless"_a = false,
      "metadata"_a.none() = nb::none(), "kwargs"_a,
      nb::sig(
          "def export_function(file_or_callback: str | Callable[..., typing.Any], fun: "
          "Callable[..., typing.Any], *args: typing.Any, shapeless: bool = False, metadata: str "
          "| None = None, **kwargs: typing.Any) -> None"),
      "Traces a function for such inputs (arrays by position and by keyword, or a tuple and a dict "
      "of them), and writes its graph with all constants to a file. With `shapeless` it serves all "
      "extents, unless it asks for them. A callback in place of the file is called with a dict for "
      "each part: the inputs, their keywords, the outputs, the constants, and each primitive.");
  m.def(
      "exporter",
      [](nb::handle file, nb::callable fun, bool shapeless, nb::handle metadata) {
        return Exporter(file, fun, shapeless, metadata);
      },
      "file"_a, "fun"_a, nb::kw_only(), "shapeless"_a = false, "metadata"_a.none() = nb::none(),
      nb::sig("def exporter(file: str, fun: Callable[..., typing.Any], *, shapeless: bool = False, "
              "metadata: str | None = None) -> FunctionExporter"),
      "A context whose calls export a function for several kinds of inputs to one file.");
  m.def("import_function", &imported, "file"_a, "return_metadata"_a = false,
        nb::sig("def import_function(file: str, return_metadata: bool = False) -> Callable[..., "
                "tuple[array, ...]] | tuple[Callable[..., tuple[array, ...]], str]"),
        "A function from a file, which gives a tuple of arrays; with the metadata if asked. "
        "Constants are read when they are first needed. ValueError where the file holds no "
        "exported function, and in a call where none of its traces is for such inputs.");
  m.def("export_to_dot", &write_dot, "file"_a, "args"_a, "kwargs"_a,
        nb::sig("def export_to_dot(file: object, *args: typing.Any, **kwargs: array) -> None"),
        "Writes the graph of what is not computed yet as text for Graphviz, to a path or an object "
        "with write. Keywords are further arrays, by name.");
}

}  // namespace cermet::python
