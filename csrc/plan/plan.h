// Plans: what a graph's structure becomes, once. A plan is immutable and kept.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "cermet/eval.h"
#include "graph/fork.h"
#include "plan/program.h"
#include "plan/tape.h"

namespace cermet {

// What a backend made of a program, for one class of layouts.
class Kernel {
 public:
  virtual ~Kernel() = default;
};
// Tells apart what a program's kernels depend on besides its structure.
using LayoutClass = SmallVector<std::uint32_t, 8>;

// The kernels of one program, those used last. Shared by all plans that have it.
class Kernels {
 public:
  // The kernel that `owner` made for a class of layouts; `make()` gives it when it is not there.
  template <class Make>
  std::shared_ptr<const Kernel> find(const void* owner, const LayoutClass& layout, Make&& make) {
    const std::scoped_lock lock(mutex_of(Lock::kernels));
    const auto it = std::find_if(kept_.begin(), kept_.end(), [&](const Entry& e) {
      return e.owner == owner && e.layout == layout;
    });
    if (it != kept_.end()) return it->kernel;
    if (kept_.size() == kMax) kept_.erase(kept_.begin());
    kept_.push_back({owner, layout, make()});
    ++made;
    return kept_.back().kernel;
  }
  static inline std::atomic<std::uint64_t> made{0};  // by all

 private:
  static constexpr std::size_t kMax = 8;
  struct Entry {
    const void* owner;
    LayoutClass layout;
    std::shared_ptr<const Kernel> kernel;
  };
  std::vector<Entry> kept_;
};

// One unit of work.
struct Step {
  // A product whose result goes to the step's program, tile by tile.
  struct Product {
    Slot slot;
    std::vector<Operand> reads;
  };
  enum class Kind : std::uint8_t {
    program,    // a row program, which may be the epilogue of products
    view,       // the input's buffer under another shape
    primitive,  // anything else
  };
  Kind kind = Kind::primitive;
  Stream stream;
  std::vector<Slot> members;   // the nodes the step stands for, in order
  std::vector<Slot> outputs;   // the members that get a value
  std::vector<Operand> reads;  // of a view or a primitive
  std::vector<Slot> last;      // what no later step reads
  std::vector<Product> products;
  std::unique_ptr<const Program> program;
  std::shared_ptr<Kernels> kernels;  // of the program, and of those that differ in slots only
};

// Calls visit(slot) for everything a step reads but constants.
template <class F>
void for_each_read(const Step& step, F visit) {
  if (step.program)
    for (std::size_t i = step.program->products; i < step.program->inputs.size(); ++i)
      visit(step.program->inputs[i].slot);
  const auto visit_all = [&](const std::vector<Operand>& reads) {
    for (const Operand in : reads)
      if (!in.is_constant()) visit(in.index());
  };
  visit_all(step.reads);
  for (const Step::Product& p : step.products) visit_all(p.reads);
}

// A result that is a region of another's memory: an operand of a concatenation or slice update.
// Where it lies there follows from the extents and parameters of each run.
struct Place {
  Slot whole;
  std::uint32_t operand;
  std::size_t step;  // the whole's
};

// What a slice update updates.
struct Base {
  static constexpr std::size_t kNowhere = ~std::size_t{0};
  // A step that reads the base, or a view of it, when the first update is written or later.
  struct Reader {
    Slot slot;
    std::size_t made;  // by which step; kNowhere: it was there before
    std::size_t step;
    std::uint32_t donates_to;  // the update that is computed in order from it by this step, or 0
    bool only_named;           // the step makes a view of it
    std::vector<Slot> path;    // the views from this one down to the base, which is not among them
  };
  Slot slot;
  std::size_t first;                 // the step that writes the first update
  std::vector<std::size_t> writers;  // the update's step, then that which writes each operand
  std::vector<Reader> readers;
};

struct Plan {
  std::vector<Step> steps;
  std::unordered_map<Slot, Place> places;
  std::unordered_map<Slot, Base> bases;  // of slice updates

  // Null: it has memory of its own. So has what a trace may ask for again.
  const Place* place_of(Slot s, std::span<const std::uint8_t> flags) const {
    if (places.empty()) return nullptr;
    const auto it = places.find(s);
    return it != places.end() && !(flags[it->second.whole] & Tape::traced) ? &it->second : nullptr;
  }
};

// Finds the plan's places and bases. (regions.cpp)
void find_places(const Tape& tape, LimitsOf limits, Plan& plan);
// Whether no step reads elements of the base that a slice update has overwritten by then, by the
// numbers of a graph whose views have not been computed yet.
bool may_overwrite(const Base& base, Slot whole, Node* const* nodes);
// What each slot is a view of, or itself.
std::vector<Slot> roots_of(const Tape& tape, const Plan& plan);

// The plan of a tape. The caller holds graph_mutex().
std::shared_ptr<const Plan> plan_of(const Tape& tape, LimitsOf limits);

// What a folded tape becomes: the plan of the same tape with the expansions of calls, and
// rewritten, neither of which need be done again.
struct Unfolded {
  struct Place {
    enum class From : std::uint8_t {
      tape,      // the tape with the calls has it at `slot`
      captured,  // the trace of the call at `slot` captured it, as number `index`
      inside,    // a part of a call, or of what was rewritten
    };
    From from = From::inside;
    Slot slot = 0;
    std::uint32_t index = 0;
    // What to compute where the tape does not say it; an array that a call's expansion made.
    std::optional<array> node = {};
  };
  std::shared_ptr<const Plan> plan;  // null: it stays as it is
  std::vector<Place> places;         // by the plan's slots
  Arrays constants;
  // Of the folded tape's nodes, where the rewrite follows from their parameters.
  std::vector<Ref<const Primitive>> primitives;
};
// Null when there is none yet. The caller holds graph_mutex().
std::shared_ptr<const Unfolded> find_unfolded(const Tape& folded);
// By slot; null for leaves.
std::vector<Ref<const Primitive>> primitives_of(const Tape& tape);
// Keeps it, where what is inside the calls follows from them alone. `primitives`: what those of the
// folded tape were.
void keep_unfolded(const Tape& folded, std::vector<Ref<const Primitive>> primitives, Tape& unfolded,
                   std::shared_ptr<const Plan> plan);

// The caller holds graph_mutex().
PlanCounts counts_of_plans();

// The steps as text, with the shapes that a tape gives them. What `listing` gives follows a
// program's.
std::string to_string(const Plan& plan, const Tape& tape,
                      const std::function<std::string(const Step&)>& listing = {});

}  // namespace cermet
