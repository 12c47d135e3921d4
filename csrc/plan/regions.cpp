// Regions: which results can be stored where they belong in a concatenation or slice update, which
// is then a place and not a step; and whether an update may be written over what it updates.
#include "plan/plan.h"
#include "plan/region.h"

namespace cermet {
namespace {

constexpr std::size_t kMostReaders = 64;

// Views that read no element when they are made.
bool is_free_view(Kind k) {
  return k == Kind::slice || k == Kind::broadcast || k == Kind::transpose || k == Kind::identity;
}

class Finder {
 public:
  Finder(const Tape& tape, Plan& plan)
      : tape_(tape), plan_(plan), step_of_(tape.nodes.size(), kNowhere) {
    for (std::size_t i = 0; i < plan.steps.size(); ++i)
      for (const Slot s : plan.steps[i].outputs) step_of_[s] = i;
    root_ = roots_of(tape, plan);
    for (std::size_t i = 0; i < plan.steps.size(); ++i)
      for_each_read(plan.steps[i], [&](Slot s) { readers_[root_[s]].emplace_back(s, i); });
  }

  void find(std::size_t step, bool places) {
    const auto& reads = plan_.steps[step].reads;
    const Slot whole = plan_.steps[step].outputs[0];
    if (tape_.kinds[whole] == Kind::concatenate) {
      for (std::uint32_t k = 0; places && k < reads.size(); ++k)
        if (is_part(step, reads[k])) give_place(reads[k].index(), {whole, k, step});
    } else if (tape_.kinds[whole] == Kind::slice_update && !reads[0].is_constant()) {
      find_updates(step, reads[0].index(), places);
    }
  }

 private:
  // An update is stored in its place when the base is there before. (Whether the base's memory may
  // be overwritten, each run tells.)
  void find_updates(std::size_t step, Slot base, bool places) {
    const auto& reads = plan_.steps[step].reads;
    const std::size_t made = step_of_[base];
    Base b{base, step, {step}, {}};
    for (std::uint32_t k = 1; k < reads.size(); ++k) {
      std::size_t writer = step;
      if (places && is_part(step, reads[k])) {
        writer = writer_of(reads[k].index());
        const bool stores = writer != step_of_[reads[k].index()] || plan_.steps[writer].program;
        if (stores && (made == kNowhere || made < writer))
          give_place(reads[k].index(), {plan_.steps[step].outputs[0], k, step});
        else
          writer = step;
      }
      b.writers.push_back(writer);
      b.first = std::min(b.first, writer);
    }
    for (const auto& [slot, reader] : readers_[root_[base]]) {
      const bool as_base =
          reader == step && slot == base && std::count(reads.begin(), reads.end(), reads[0]) == 1;
      if (reader < b.first || as_base) continue;
      if (b.readers.size() == kMostReaders) return;  // it is copied
      b.readers.push_back(read_by(b, slot, reader));
    }
    plan_.bases.emplace(plan_.steps[step].outputs[0], std::move(b));
  }
  Base::Reader read_by(const Base& base, Slot slot, std::size_t reader) const {
    Base::Reader r{slot, step_of_[slot], reader, 0, false, {}};
    const Step& step = plan_.steps[reader];
    if (step.kind == Step::Kind::view) r.only_named = is_free_view(tape_.kinds[step.outputs[0]]);
    for (Slot s = slot; s != base.slot;) {
      if (s == root_[s]) {  // a view of what the base is a view of
        r.path.clear();
        break;
      }
      r.path.push_back(s);
      const Operand in = tape_.inputs(s)[0];
      if (in.is_constant()) break;
      s = in.index();
    }
    // A program may read elements that it overwrites where it has read each before that.
    if (const Program* p = step.program.get())
      for (std::uint32_t k = 1; k < base.writers.size(); ++k) {
        if (base.writers[k] != reader) continue;
        const Slot update = plan_.steps[base_step(base)].reads[k].index();
        if (step_of_[update] != reader) continue;  // a reshape of it
        for (const std::uint32_t i : output_of(*p, update).donors)
          if (p->inputs[i].slot == slot) r.donates_to = k;
      }
    return r;
  }
  static std::size_t base_step(const Base& base) { return base.writers[0]; }

  // Whether an operand is computed by what can store it in a region, and only programs read it
  // besides.
  bool is_part(std::size_t whole, Operand o) const {
    if (o.is_constant() || step_of_[o.index()] == kNowhere) return false;
    const Slot s = o.index();
    const Step& step = plan_.steps[step_of_[s]];
    if (tape_.is(s, Tape::held) || step.stream != plan_.steps[whole].stream) return false;
    int uses = 0;
    for (const auto& [slot, reader] : readers_.at(root_[s])) {
      if (slot != s) continue;
      const Step& by = plan_.steps[reader];
      uses += reader == whole;
      if (reader != whole && (!by.program || !by.products.empty())) return false;
    }
    if (uses != 1) return false;
    if (step.program) return output_of(*step.program, s).slots.size() == 1;
    return tape_.kinds[s] == Kind::concatenate ||
           (tape_.kinds[s] == Kind::reshape && step.kind == Step::Kind::view &&
            is_part(step_of_[s], step.reads[0]));
  }
  // The first step that stores a part, or what it is put together of or a reshape of.
  std::size_t writer_of(Slot part) const {
    const std::size_t made = step_of_[part];
    const Step& step = plan_.steps[made];
    if (step.kind == Step::Kind::view) return writer_of(step.reads[0].index());
    if (step.program) return made;
    std::size_t first = made;
    for (const Operand o : step.reads)
      if (!o.is_constant())
        if (const auto it = plan_.places.find(o.index());
            it != plan_.places.end() && it->second.whole == part)
          first = std::min(first, writer_of(o.index()));
    return first;
  }
  void give_place(Slot part, const Place& place) {
    plan_.places[part] = place;
    const std::size_t made = step_of_[part];
    const Step& step = plan_.steps[made];
    if (step.kind == Step::Kind::view) plan_.places[step.reads[0].index()] = {part, 0, made};
  }
  static const ProgramOutput& output_of(const Program& p, Slot s) {
    return *std::find_if(p.outputs.begin(), p.outputs.end(), [s](const ProgramOutput& out) {
      return std::find(out.slots.begin(), out.slots.end(), s) != out.slots.end();
    });
  }

  static constexpr std::size_t kNowhere = Base::kNowhere;
  const Tape& tape_;
  Plan& plan_;
  std::vector<std::size_t> step_of_;
  std::vector<Slot> root_;
  std::unordered_map<Slot, std::vector<std::pair<Slot, std::size_t>>> readers_;  // of each root
};

// The elements of the base that a reader's view has, and whether in the view's order.
std::pair<Region, bool> elements_of(const Base::Reader& reader, Node* const* nodes,
                                    const Shape& base) {
  Region region = whole_of(nodes[reader.slot]->shape);
  bool ordered = true;
  for (std::size_t i = 0; i < reader.path.size(); ++i) {
    const Node& n = *nodes[reader.path[i]];
    const Shape& of = i + 1 < reader.path.size() ? nodes[reader.path[i + 1]]->shape : base;
    if (n.primitive->kind() == Kind::slice) {
      const auto& s = static_cast<const Slice&>(*n.primitive);
      region = compose(region_of(s.start, s.step, n.shape), region);
    } else {
      region = whole_of(of);
      ordered = false;
    }
  }
  return {std::move(region), ordered};
}

}  // namespace

std::vector<Slot> roots_of(const Tape& tape, const Plan& plan) {
  std::vector<Slot> root(tape.nodes.size());
  std::vector<char> computed(root.size());
  for (const Step& step : plan.steps)
    if (step.program)
      for (const Slot s : step.outputs) computed[s] = true;
  for (Slot s = 0; s < root.size(); ++s) {
    const bool shares = !tape.is(s, Tape::leaf) && !computed[s] &&
                        (is_view(tape.kinds[s]) || tape.kinds[s] == Kind::contiguous) &&
                        !tape.inputs(s)[0].is_constant();
    root[s] = shares ? root[tape.inputs(s)[0].index()] : s;
  }
  return root;
}

bool may_overwrite(const Base& base, Slot whole, Node* const* nodes) {
  const Node& n = *nodes[whole];
  for (const Base::Reader& r : base.readers) {
    if (r.only_named) continue;
    if (r.path.empty()) return false;  // the base, or a view of something else
    const auto [region, ordered] = elements_of(r, nodes, n.shape);
    for (std::uint32_t k = 1; k < base.writers.size(); ++k) {
      if (base.writers[k] > r.step) continue;
      const Region update = region_of(n, k);
      const bool in_order = ordered && r.donates_to == k && region == update;
      if (!in_order && overlap(region, update)) return false;
    }
  }
  return true;
}

void find_places(const Tape& tape, LimitsOf limits, Plan& plan) {
  Finder finder(tape, plan);
  for (std::size_t i = 0; i < plan.steps.size(); ++i)
    if (!plan.steps[i].program) finder.find(i, limits(plan.steps[i].stream).regions);
}

}  // namespace cermet
