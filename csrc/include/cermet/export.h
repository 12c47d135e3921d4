// Functions in files: a traced graph with its constants, which any program can load and call.
// docs/export.md has the format.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "cermet/io.h"

namespace cermet {

// A function of arrays by position and by name.
using NamedFunction = std::function<Arrays(const Arrays& args, const ArrayMap& kwargs)>;

// Traces a function for some inputs, as often as it is called, and writes all of that to a file
// when it is closed. With `shapeless` a trace serves all extents, unless something in the function
// asks for them. std::runtime_error for inputs like those of an earlier call, or after the end.
class FunctionExporter {
 public:
  FunctionExporter(std::string file, NamedFunction fun, bool shapeless = false,
                   std::string metadata = "");
  ~FunctionExporter();  // writes nothing
  FunctionExporter(FunctionExporter&&) noexcept;
  FunctionExporter& operator=(FunctionExporter&&) noexcept;
  void operator()(const Arrays& args, const ArrayMap& kwargs = {});
  // Writes the file, the first time. What was there before is replaced when the new one is whole.
  void close();

 private:
  class Exporter;
  std::unique_ptr<Exporter> exporter_;
};

// A file with one trace.
void export_function(const std::string& file, const NamedFunction& fun, const Arrays& args,
                     const ArrayMap& kwargs = {}, bool shapeless = false,
                     const std::string& metadata = "");

// A function from a file. Its outputs are lazy, and follow transforms as those of other functions.
class ImportedFunction {
 public:
  // std::invalid_argument where no trace of the file is for such inputs. Names that none has count
  // as positions behind those given, in their order.
  Arrays operator()(const Arrays& args, const ArrayMap& kwargs = {}) const;
  const std::string& metadata() const;

 private:
  friend ImportedFunction import_function(const Ref<const Source>& source);
  class Functions;
  std::shared_ptr<const Functions> functions_;
};
// Reads the graph; constants are read when they are first needed. FormatError where the file is not
// what a program has exported: nothing in it can make a graph that the library's operations do not.
ImportedFunction import_function(const Ref<const Source>& source);
ImportedFunction import_function(const std::string& file);

// ---- To look at ----

// What an export consists of, by parts: the inputs with their names, the outputs, the constants,
// and the primitives in an order in which they can be computed. Arrays go by made-up names.
struct ExportedArray {
  std::string name;
  Shape shape;
  Dtype dtype;
};
// One of a primitive's parameters; absent where it has none.
using ExportedArgument = std::variant<std::monostate, bool, std::int64_t, double, std::string,
                                      std::vector<std::int64_t>>;
struct ExportedPrimitive {
  std::string name;
  std::vector<ExportedArgument> arguments;
  std::vector<ExportedArray> inputs, outputs;
};
struct ExportedGraph {
  std::vector<ExportedArray> inputs, outputs;
  std::vector<std::pair<std::string, std::string>> keywords;  // of inputs: name, and array's name
  NamedArrays constants;
  std::vector<ExportedPrimitive> primitives;
};
ExportedGraph describe_export(const NamedFunction& fun, const Arrays& args,
                              const ArrayMap& kwargs = {}, bool shapeless = false);

// The graph of what outputs and named arrays need and is not computed yet, as text for Graphviz.
std::string to_dot(const Arrays& outputs, const NamedArrays& names = {});

}  // namespace cermet
