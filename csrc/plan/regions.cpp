// Regions: which results can be stored where they belong in a concatenation or slice update, which
// is then a place and not a step.
#include "plan/plan.h"

namespace cermet {
namespace {

class Finder {
 public:
  Finder(const Tape& tape, Plan& plan)
      : tape_(tape),
        plan_(plan),
        uses_(tape.nodes.size()),
        step_of_(tape.nodes.size(), kNowhere),
        root_(tape.nodes.size()) {
    for (const Operand o : tape.operands)
      if (!o.is_constant()) ++uses_[o.index()];
    for (std::size_t i = 0; i < plan.steps.size(); ++i)
      for (const Slot s : plan.steps[i].outputs) step_of_[s] = i;
    for (Slot s = 0; s < root_.size(); ++s) {
      const bool shares = !tape.is(s, Tape::leaf) &&
                          (is_view(tape.kinds[s]) || tape.kinds[s] == Kind::contiguous) &&
                          !tape.inputs(s)[0].is_constant();
      root_[s] = shares ? root_[tape.inputs(s)[0].index()] : s;
    }
  }

  void find(std::size_t step) {
    const auto& reads = plan_.steps[step].reads;
    const Slot whole = plan_.steps[step].outputs[0];
    if (tape_.kinds[whole] == Kind::concatenate) {
      for (std::uint32_t k = 0; k < reads.size(); ++k)
        if (is_part(step, reads[k])) plan_.places[reads[k].index()] = {whole, k, step};
    } else if (tape_.kinds[whole] == Kind::slice_update && is_part(step, reads[1]) &&
               is_base_ready(step, reads[0], reads[1].index())) {
      plan_.places[reads[1].index()] = {whole, 1, step};
    }
  }

 private:
  // Whether an operand is computed for a step alone, by what can store it in a region.
  bool is_part(std::size_t whole, Operand o) const {
    if (o.is_constant() || step_of_[o.index()] == kNowhere) return false;
    const Slot s = o.index();
    const Step& step = plan_.steps[step_of_[s]];
    if (uses_[s] != 1 || tape_.is(s, Tape::held) || step.stream != plan_.steps[whole].stream)
      return false;
    return step.program ? output_of(*step.program, s).slots.size() == 1
                        : tape_.kinds[s] == Kind::concatenate;
  }
  static const ProgramOutput& output_of(const Program& p, Slot s) {
    return *std::find_if(p.outputs.begin(), p.outputs.end(), [s](const ProgramOutput& out) {
      return std::find(out.slots.begin(), out.slots.end(), s) != out.slots.end();
    });
  }

  // Whether what a slice update updates may be overwritten when the update is computed: it is
  // there, and nothing reads it from then on but the program itself, and this only a slice that it
  // overwrites in order. (Whether it is the same slice, each run tells.)
  bool is_base_ready(std::size_t whole, Operand base, Slot update) const {
    const std::size_t writer = step_of_[update];
    const Program* program = plan_.steps[writer].program.get();
    if (!program || base.is_constant()) return false;
    const std::size_t made = step_of_[base.index()];
    bool ready = made == kNowhere || made < writer;
    const Slot root = root_[base.index()];
    const auto& donors = output_of(*program, update).donors;
    for (const Step::Product& p : plan_.steps[writer].products)
      for (const Operand in : p.reads) ready &= root_[in.index()] != root;
    for (std::uint32_t i = program->products; i < program->inputs.size(); ++i)
      if (const Slot in = program->inputs[i].slot; root_[in] == root)
        ready &= tape_.kinds[in] == Kind::slice &&
                 std::find(donors.begin(), donors.end(), i) != donors.end();
    for (std::size_t k = writer + 1; k < whole; ++k)
      for_each_read(plan_.steps[k], [&](Slot s) { ready &= root_[s] != root; });
    return ready;
  }

  static constexpr std::size_t kNowhere = ~std::size_t{0};
  const Tape& tape_;
  Plan& plan_;
  std::vector<std::uint32_t> uses_;
  std::vector<std::size_t> step_of_;
  std::vector<Slot> root_;  // of views: what they are of
};

}  // namespace

void find_places(const Tape& tape, LimitsOf limits, Plan& plan) {
  Finder finder(tape, plan);
  for (std::size_t i = 0; i < plan.steps.size(); ++i)
    if (!plan.steps[i].program && limits(plan.steps[i].stream).regions) finder.find(i);
}

}  // namespace cermet
