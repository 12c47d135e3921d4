// Registers for a trace: what does not change between vectors of elements is computed once, the
// rest in the order of the trace.
#include "cpu/machine/generate.h"

#include <algorithm>
#include <limits>

namespace cermet::cpu::machine {
namespace {

constexpr int kMostCopies = 4;              // of vectors in a turn of the loop
constexpr std::size_t kLongestBody = 1024;  // steps, if copied
constexpr std::int32_t kNever = std::numeric_limits<std::int32_t>::max();

class Generator {
 public:
  Generator(const Trace& trace, Assembler& assembler)
      : trace_(trace.steps()), a_(assembler), facts_(assembler.facts()) {}

  Generated run() {
    find_needed();
    copy_body();
    find_uses();
    a_.begin({locations_.data(), locations_.size()}, has_rare_);
    classes_[0].owner.assign(facts_.registers, kNoValue);
    classes_[1].owner.assign(facts_.conditions, kNoValue);
    emit_all(invariant_);
    place_invariants();
    a_.begin_loop();
    emit_all(body_);
    return {a_.finish(slots_, copies_), copies_ * facts_.lanes};
  }

 private:
  struct Value {
    std::int32_t reg = -1, slot = -1;
    std::int32_t next = 0, end = 0;  // of its uses, in uses_
    bool invariant = false, needed = false, in_slot = false;
  };
  struct Class {
    std::vector<std::int32_t> owner;  // of registers
  };

  bool is_constant(std::int32_t v) const { return trace_[v].op == Micro::constant; }
  // Conditions have registers of their own, or those of vectors.
  Class& class_of(std::int32_t v) { return classes_[is_apart(v)]; }
  bool is_apart(std::int32_t v) const {
    return facts_.conditions > 0 && is_condition(trace_[v].op);
  }

  // Backwards from stores: the steps that count, in two lists.
  void find_needed() {
    values_.resize(trace_.size());
    const auto n = static_cast<std::int32_t>(trace_.size());
    for (std::int32_t v = n - 1; v >= 0; --v) {
      const Step& s = trace_[v];
      if (s.op == Micro::store) values_[v].needed = true;
      if (!values_[v].needed) continue;
      for (const std::int32_t in : s.in)
        if (in != kNoValue) values_[in].needed = true;
    }
    for (std::int32_t v = 0; v < n; ++v) {
      const Step& s = trace_[v];
      if (!values_[v].needed || is_constant(v)) continue;
      bool invariant =
          s.op != Micro::load && s.op != Micro::store && s.op != Micro::rare && !is_condition(s.op);
      for (const std::int32_t in : s.in)
        invariant &= in == kNoValue || is_constant(in) || values_[in].invariant;
      values_[v].invariant = invariant;
      (invariant ? invariant_ : body_).push_back(v);
      has_rare_ |= s.op == Micro::rare;
      if (s.op == Micro::load || s.op == Micro::store) place_of(s.bits);
    }
  }

  // A turn of the loop goes over several vectors, step by step, where registers suffice: a
  // processor looks ahead by some hundred steps, and those of one vector wait for each other.
  void copy_body() {
    find_uses();
    while (copies_ < kMostCopies && 2 * (copies_ + 1) * pressure() <= 3 * facts_.registers &&
           (copies_ + 1) * body_.size() <= kLongestBody)
      ++copies_;
    std::vector<std::int32_t> once(body_.size() * copies_);
    std::swap(once, body_);
    std::vector<std::int32_t> copied(trace_.size() * copies_);  // the values of each
    std::size_t next = 0;
    for (std::size_t k = 0; k * copies_ < body_.size(); ++k)
      for (int copy = 0; copy < copies_; ++copy) {
        std::int32_t v = once[k];
        if (copy > 0) {
          Step step = trace_[v];
          step.copy = static_cast<std::uint8_t>(copy);
          for (std::int32_t& in : step.in)
            if (in != kNoValue && !is_constant(in) && !values_[in].invariant)
              in = copied[in * copies_ + copy];
          trace_.push_back(step);
          values_.emplace_back();
          copied[v * copies_ + copy] = static_cast<std::int32_t>(trace_.size()) - 1;
          v = copied[v * copies_ + copy];
        }
        body_[next++] = v;
      }
  }

  // Where values are used, by the place of the step that reads: invariants' come first.
  void find_uses() {
    std::vector<std::int32_t> count(trace_.size());
    const auto each_use = [&](auto visit) {
      std::int32_t place = 0;
      for (const auto* list : {&invariant_, &body_})
        for (const std::int32_t v : *list) {
          for (const std::int32_t in : trace_[v].in)
            if (in != kNoValue) visit(in, place);
          ++place;
        }
    };
    each_use([&](std::int32_t v, std::int32_t) { ++count[v]; });
    std::int32_t total = 0;
    for (std::size_t v = 0; v < values_.size(); ++v) {
      values_[v].next = values_[v].end = total;
      total += count[v];
    }
    uses_.resize(static_cast<std::size_t>(total));
    each_use([&](std::int32_t v, std::int32_t place) { uses_[values_[v].end++] = place; });
  }

  int place_of(std::uint32_t location) {
    const auto it = std::find(locations_.begin(), locations_.end(), location);
    if (it == locations_.end()) locations_.push_back(location);
    return static_cast<int>(it - locations_.begin());
  }

  // The next step that uses a value, after those that have been emitted.
  std::int32_t next_use(const Value& v) const { return v.next == v.end ? kNever : uses_[v.next]; }

  // What the loop reads of invariants, and of constants that its instructions can't have in
  // themselves or in memory: in registers that the loop can do without, or where it is loaded from.
  void place_invariants() {
    std::vector<std::int32_t> needed, reads(trace_.size());
    for (const std::int32_t v : body_)
      for (int i = 0; i < 4; ++i) {
        const std::int32_t in = trace_[v].in[i];
        if (in == kNoValue ||
            !(is_constant(in) ? !a_.reads_memory(trace_[v], i) || values_[in].reg >= 0
                              : values_[in].invariant))
          continue;
        if (reads[in]++ == 0) needed.push_back(in);
      }
    std::stable_sort(needed.begin(), needed.end(),
                     [&](std::int32_t x, std::int32_t y) { return reads[x] > reads[y]; });
    // A step has up to four operands beside what is live, or one of them in memory.
    const int apart = a_.reads_memory({Micro::add}, 1) && !has_rare_ ? 2 : 4;
    const int spare = facts_.registers - pressure() - apart;
    for (std::size_t k = 0; k < needed.size(); ++k) {
      Value& v = values_[needed[k]];
      if (static_cast<int>(k) < spare) {
        if (v.reg < 0) reload(needed[k], take(needed[k], {}));
        v.end = kNever;  // it stays
      } else {
        if (v.reg < 0) continue;
        if (!is_constant(needed[k])) spill(needed[k]);
        release(needed[k]);
      }
    }
  }
  // The most vectors that are live in the loop at once.
  int pressure() const {
    int live = 0, most = 0;
    auto place = static_cast<std::int32_t>(invariant_.size());
    for (const std::int32_t v : body_) {
      for (int i = 0; i < 4; ++i) {
        const std::int32_t in = trace_[v].in[i];
        if (in == kNoValue || is_constant(in) || values_[in].invariant || is_apart(in)) continue;
        const bool again = std::find(trace_[v].in, trace_[v].in + i, in) != trace_[v].in + i;
        if (!again && uses_[values_[in].end - 1] == place) --live;
      }
      if (trace_[v].op != Micro::store && !is_apart(v)) most = std::max(most, ++live);
      ++place;
    }
    return most;
  }

  void release(std::int32_t v) {
    class_of(v).owner[values_[v].reg] = kNoValue;
    values_[v].reg = -1;
  }
  void spill(std::int32_t v) {
    Value& value = values_[v];
    if (value.in_slot) return;
    if (value.slot < 0) value.slot = slots_++;
    a_.spill(value.reg, value.slot, is_apart(v));
    value.in_slot = true;
  }
  void reload(std::int32_t v, int reg) {
    if (is_constant(v))
      a_.constant(reg, trace_[v].bits);
    else
      a_.reload(reg, values_[v].slot, is_apart(v));
  }

  // A register for a value; what is used last makes room, but none of the step's operands.
  int take(std::int32_t v, std::span<const std::int32_t> operands) {
    Class& c = class_of(v);
    int best = -1;
    std::int32_t latest = -1;
    for (int r = 0; r < static_cast<int>(c.owner.size()); ++r) {
      const std::int32_t owner = c.owner[r];
      if (owner == kNoValue) {
        best = r;
        break;
      }
      if (values_[owner].end == kNever ||
          std::find(operands.begin(), operands.end(), owner) != operands.end())
        continue;
      // Of those used as late, one that need not be stored.
      const std::int32_t next = next_use(values_[owner]);
      if (next > latest) best = r, latest = next;
    }
    if (const std::int32_t owner = c.owner[best]; owner != kNoValue) {
      if (!is_constant(owner)) spill(owner);
      release(owner);
    }
    c.owner[best] = v;
    values_[v].reg = best;
    return best;
  }

  void emit_all(const std::vector<std::int32_t>& list) {
    for (const std::int32_t v : list) emit(v);
  }

  void emit(std::int32_t v) {
    const Step& s = trace_[v];
    Operand in[4];
    bool has_memory = false;
    for (int i = 0; i < 4; ++i) {
      const std::int32_t x = s.in[i];
      if (x == kNoValue) continue;
      const Value& value = values_[x];
      if (value.reg < 0 && !has_memory && !is_condition(trace_[x].op) && a_.reads_memory(s, i)) {
        has_memory = true;
        in[i] = is_constant(x)
                    ? Operand{Operand::Kind::constant, trace_[x].bits}
                    : Operand{Operand::Kind::slot, static_cast<std::uint32_t>(value.slot)};
        continue;
      }
      if (value.reg < 0) {
        take(x, s.in);
        reload(x, value.reg);
      }
    }
    for (int i = 0; i < 4; ++i)
      if (s.in[i] != kNoValue && in[i].kind == Operand::Kind::none)
        in[i] = {Operand::Kind::reg, static_cast<std::uint32_t>(values_[s.in[i]].reg)};
    // Operands that end here make room.
    ++place_;
    for (const std::int32_t x : s.in) {
      if (x == kNoValue || values_[x].end == kNever) continue;
      Value& value = values_[x];
      while (value.next < value.end && uses_[value.next] < place_) ++value.next;
    }
    int shared = -1;
    const auto ends = [&](std::int32_t x) {
      return values_[x].reg >= 0 && values_[x].end != kNever && next_use(values_[x]) == kNever;
    };
    for (int i = 0; i < 4 && s.op != Micro::store; ++i)
      if (const std::int32_t x = s.in[i]; x != kNoValue && shared < 0 && ends(x) &&
                                          is_apart(x) == is_apart(v) && a_.may_share(s, i))
        shared = x;
    if (shared >= 0) {
      values_[v].reg = values_[shared].reg;
      values_[shared].reg = -1;
      class_of(v).owner[values_[v].reg] = v;
    } else if (s.op != Micro::store) {
      take(v, s.in);
    }
    const int out = values_[v].reg;
    switch (s.op) {
      case Micro::load: a_.load(out, s.dtype, place_of(s.bits), s.copy); break;
      case Micro::broadcast: a_.broadcast(out, s.dtype, s.bits); break;
      case Micro::store:
        a_.store(static_cast<int>(in[0].value), s.dtype, place_of(s.bits), s.copy);
        break;
      default: a_.emit(s, out, in);
    }
    for (const std::int32_t x : s.in)
      if (x != kNoValue && ends(x)) release(x);
  }

  std::vector<Step> trace_;
  Assembler& a_;
  const Assembler::Facts facts_;
  std::vector<Value> values_;
  std::vector<std::int32_t> invariant_, body_, uses_;
  std::vector<std::uint32_t> locations_;
  Class classes_[2];
  std::int32_t place_ = 0;  // of the step that is emitted next
  int slots_ = 0, copies_ = 1;
  bool has_rare_ = false;
};

}  // namespace

Generated generate(const Trace& trace, Assembler& assembler) {
  return Generator(trace, assembler).run();
}

}  // namespace cermet::cpu::machine
