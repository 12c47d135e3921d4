// The Metal source that an evaluation would run, as text.
#include "cermet/eval.h"
#include "eval/batch.h"
#include "graph/text.h"
#include "metal/library.h"
#include "metal/program.h"

namespace cermet {

std::string metal_source(const Arrays& arrays, bool complete) {
  std::scoped_lock lock(graph_mutex());
  const Tape& tape = record(arrays, limits_of);
  const auto plan = plan_of(tape, limits_of);
  std::vector<std::uint64_t> constants;
  for (const Node* c : tape.constants) constants.push_back(c->scalar);
  Text out;
  std::vector<std::string> included;
  if (complete) {
    out << "#include <metal_stdlib>\nusing namespace metal;\n";
    for (const char* file : {"types.h", "reduce.h"}) out << metal::flatten(file, included);
    out << "#line 1 \"program.metal\"\n";
  }
  for (const Step& step : plan->steps) {
    const Node& first = *tape.nodes[step.outputs[0]];
    if (!step.program) {
      if (step.kind == Step::Kind::primitive)
        out << "// " << first.primitive->name() << ": "
            << (metal::supports(first) ? "a kernel of metal/." : "on the CPU.") << "\n\n";
      continue;
    }
    const ProgramRun run = bind(*step.program, tape.nodes.data(), constants.data());
    if (!metal::supports(run)) {
      out << "// On the CPU: a row program of float64 or of very many arrays.\n\n";
      continue;
    }
    for (const metal::ProgramKernel& kernel : metal::generate(run)) out << kernel.text << "\n";
  }
  return out.str();
}

}  // namespace cermet
