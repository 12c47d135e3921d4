// From the lazy graph to steps: the tape, and the fusion of its nodes into row programs.
#pragma once

#include <memory>
#include <vector>

#include "cermet/array.h"
#include "eval/program.h"

namespace cermet {

// One unit of work.
struct Step {
  enum class Kind : std::uint8_t {
    program,    // a row program
    view,       // the input's buffer under another shape
    primitive,  // anything else
  };
  struct Member {
    Ref<Node> node;
    bool retain;  // a tracer keeps its graph
  };
  Kind kind = Kind::primitive;
  Stream stream;
  // The nodes the step stands for, in order. They keep the step's inputs alive.
  std::vector<Member> members;
  std::vector<Node*> outputs;  // the members that get a value
  std::unique_ptr<Program> program;
};

struct Schedule {
  std::vector<Step> steps;
  // Batches in flight that compute inputs of this one.
  std::vector<std::shared_ptr<Batch>> dependencies;
};

// Plans what is needed for the arrays and not computed yet. The caller holds graph_mutex().
Schedule schedule(const Arrays& arrays);

}  // namespace cermet
