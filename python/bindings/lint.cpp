// The private submodule _lint: the simulator's front end, for cermet.metal.lint.
#include <nanobind/stl/map.h>
#include <nanobind/stl/tuple.h>

#include "bindings.h"
#include "metal/device.h"
#include "metal/simulator/compile.h"
#include "metal/simulator/translate.h"

namespace cermet::python {
namespace {

using namespace metal::simulator;

using Place = std::tuple<std::string, int, int>;  // file, line, column
Place to_place(const SourceLocation& l) { return {l.file, l.line, l.column}; }

std::vector<std::pair<Place, std::string>> diagnostics(const Translation& t) {
  std::vector<std::pair<Place, std::string>> out;
  for (const Diagnostic& d : t.diagnostics) out.emplace_back(to_place(d.location), d.message);
  return out;
}

}  // namespace

void bind_lint(nb::module_& m) {
  nb::module_ sub = m.def_submodule("_lint", "The front end of the Metal lint.");
  nb::class_<Translation>(sub, "Translation", "Metal source as clang's C++ for OpenCL.")
      .def_ro("text", &Translation::text, "The translated text; lines keep their file and number.")
      .def_prop_ro(
          "kernels",
          [](const Translation& t) {
            std::vector<std::string> names;
            for (const Translation::Kernel& k : t.kernels) names.push_back(k.name);
            return names;
          },
          "The names of its kernels.")
      .def_prop_ro("diagnostics", &diagnostics, "What was rejected: places and messages.")
      .def(
          "original",
          [](const Translation& t, const std::string& file, int line, int column) {
            return to_place(t.original({file, line, column}));
          },
          "file"_a, "line"_a, "column"_a, "The place in the Metal source of one in the text.");
  sub.def(
      "preprocess",
      [](const std::string& source, const std::string& path, std::vector<std::string> include,
         std::map<std::string, std::string> macros) {
        return preprocess(source, path, {std::move(include), std::move(macros)});
      },
      "source"_a, "path"_a, "include"_a = std::vector<std::string>(),
      "macros"_a = std::map<std::string, std::string>(),
      "The source after the preprocessor, where it needs one.");
  sub.def("translate", &metal::simulator::translate, "source"_a, "path"_a, "strict"_a = true,
          "Translates preprocessed source.");
  sub.def("in_metal_terms", &in_metal_terms, "message"_a, "Clang's words to Metal's.");
  sub.def("front_end_arguments", &front_end_arguments,
          "The arguments with which clang takes a translation.");
}

}  // namespace cermet::python
