// Regions: which results can be stored where they belong in a concatenation or slice update, which
// is then a place and not a step.
#include "plan/plan.h"

namespace cermet {
namespace {

class Finder {
 public:
  Finder(const Tape& tape, LimitsOf limits, Plan& plan)
      : tape_(tape),
        limits_(limits),
        plan_(plan),
        uses_(tape.nodes.size()),
        step_of_(tape.nodes.size(), kNowhere),
        root_(tape.nodes.size()) {
    for (const Operand o : tape.operands)
      if (!o.is_constant()) ++uses_[o.index()];
    for (std::size_t i = 0; i < plan.steps.size(); ++i)
      for (const Slot s : plan.steps[i].outputs) step_of_[s] = i;
    for (Slot s = 0; s < root_.size(); ++s) {
      const bool shares = is_view(tape.kinds[s]) || tape.kinds[s] == Kind::contiguous;
      const bool is_root = tape.is(s, Tape::leaf) || !shares || tape.inputs(s)[0].is_constant();
      root_[s] = is_root ? s : root_[tape.inputs(s)[0].index()];
    }
  }

  void find() {
    for (std::size_t i = 0; i < plan_.steps.size(); ++i) {
      const Step& step = plan_.steps[i];
      if (step.kind != Step::Kind::primitive || !limits_(step.stream).regions) continue;
      const Slot whole = step.outputs[0];
      if (tape_.kinds[whole] == Kind::concatenate) {
        for (std::uint32_t k = 0; k < step.reads.size(); ++k)
          if (is_part(step, step.reads[k])) plan_.places[step.reads[k].index()] = {whole, k, i};
      } else if (tape_.kinds[whole] == Kind::slice_update && is_part(step, step.reads[1]) &&
                 is_program(step.reads[1].index()) && base_can_wait(i)) {
        plan_.places[step.reads[1].index()] = {whole, 1, i};
      }
    }
  }

 private:
  bool is_program(Slot s) const { return plan_.steps[step_of_[s]].program != nullptr; }

  // Whether an operand of a step is computed for it alone, by what can store it in a region.
  bool is_part(const Step& whole, Operand o) const {
    if (o.is_constant() || step_of_[o.index()] == kNowhere) return false;
    const Slot s = o.index();
    const Step& step = plan_.steps[step_of_[s]];
    if (uses_[s] != 1 || tape_.is(s, Tape::held) || step.stream != whole.stream) return false;
    if (!step.program)
      return step.kind == Step::Kind::primitive && tape_.kinds[s] == Kind::concatenate;
    return output_of(*step.program, s).slots.size() == 1;
  }
  static const ProgramOutput& output_of(const Program& p, Slot s) {
    return *std::find_if(p.outputs.begin(), p.outputs.end(), [s](const ProgramOutput& out) {
      return std::find(out.slots.begin(), out.slots.end(), s) != out.slots.end();
    });
  }

  // Whether a slice update's memory can be in place when the update is computed: what it updates is
  // there, and nothing reads that from then on but the program itself, and this only elements that
  // it overwrites. (Where they differ from these after all, the memory is another's.)
  bool base_can_wait(std::size_t whole) const {
    const auto& reads = plan_.steps[whole].reads;
    const Slot update = reads[1].index();
    if (reads[0].is_constant()) return false;
    const Slot base = reads[0].index();
    const std::size_t writer = step_of_[update];
    if (step_of_[base] != kNowhere && step_of_[base] >= writer) return false;
    const Program& program = *plan_.steps[writer].program;
    const auto& donors = output_of(program, update).donors;
    for (std::uint32_t i = 0; i < program.inputs.size(); ++i) {
      const Slot in = program.inputs[i].slot;
      const bool overwritten = tape_.kinds[in] == Kind::slice &&
                               std::find(donors.begin(), donors.end(), i) != donors.end();
      if (root_[in] == root_[base] && !overwritten) return false;
    }
    for (std::size_t k = writer + 1; k < whole; ++k) {
      const Step& step = plan_.steps[k];
      if (step.program)
        for (const ProgramInput& in : step.program->inputs)
          if (root_[in.slot] == root_[base]) return false;
      for (const Operand in : step.reads)
        if (!in.is_constant() && root_[in.index()] == root_[base]) return false;
    }
    return true;
  }

  static constexpr std::size_t kNowhere = ~std::size_t{0};
  const Tape& tape_;
  const LimitsOf limits_;
  Plan& plan_;
  std::vector<std::uint32_t> uses_;
  std::vector<std::size_t> step_of_;
  std::vector<Slot> root_;  // of views: what they are of
};

}  // namespace

void find_places(const Tape& tape, LimitsOf limits, Plan& plan) {
  Finder(tape, limits, plan).find();
}

}  // namespace cermet
