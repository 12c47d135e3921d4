// Registers for a trace. Its steps run in sections: once; then for each row, alternately, on values
// of the row and in a loop over its elements. Each step is in the first section that has its
// operands.
#include "cpu/machine/generate.h"

#include <algorithm>
#include <limits>

namespace cermet::cpu::machine {
namespace {

constexpr int kMostCopies = 4;              // vectors that are interleaved
constexpr std::size_t kLongestBody = 1024;  // steps, if interleaved
constexpr std::int32_t kNever = std::numeric_limits<std::int32_t>::max();
constexpr std::int32_t kReserved = -2;  // owns registers of accumulators

// A step in a place of the code: in a turn's `copy`-th vector.
struct Placed {
  std::int32_t value;
  std::uint8_t copy = 0;
  bool masked = false;
};

class Generator {
 public:
  Generator(const Trace& trace, Assembler& assembler, const std::optional<Rows>& rows)
      : trace_(trace.steps()), a_(assembler), facts_(assembler.facts()), rows_(rows) {}

  Generated run() {
    find_needed();
    for (Loop& loop : loops_)
      if (!loop.body.empty()) copy_body(loop);  // it may be that nothing of a pass counts
    find_uses();
    Assembler::Shape shape{locations_, has_rare_, rows_.has_value()};
    if (rows_) shape.all = rows_->locations, shape.steps = rows_->steps;
    a_.begin(shape);
    owners_[0].assign(facts_.registers, kNoValue);
    owners_[1].assign(facts_.conditions, kNoValue);
    emit(once_);
    if (rows_) {
      flush();
      a_.begin_rows();
    }
    for (std::size_t k = 0; k < loops_.size(); ++k) {
      emit(straight_[k]);
      if (!loops_[k].body.empty()) emit_loop(loops_[k]);
    }
    emit(straight_.back());
    if (rows_) a_.end_rows();
    const int lanes = rows_ ? static_cast<int>(kLanes) : loops_[0].vectors * facts_.lanes;
    return {a_.finish(slots_), lanes, slots_};
  }

 private:
  struct Value {
    std::int32_t reg = -1, slot = -1;
    std::int32_t next = 0, end = 0;  // of its uses, in uses_
    std::int16_t section = -1;       // -1: once; 2k: straight, before loop k; 2k + 1: loop k
    bool needed = false, in_slot = false, pinned = false;
  };
  struct Loop {
    std::vector<Placed> body, turn, rest;  // once for a vector; as it is emitted
    std::vector<std::int32_t> reductions;
    std::vector<std::int32_t> accumulators;  // registers, or slots, of each for each copy
    int vectors = 1;                         // of a turn
    int together = 1;                        // of these, interleaved
    bool in_registers = false;
  };

  bool is_constant(std::int32_t v) const { return trace_[v].op == Micro::constant; }
  // Conditions have registers of their own, or those of vectors.
  bool is_apart(std::int32_t v) const {
    return facts_.conditions > 0 && is_condition(trace_[v].op);
  }
  std::vector<std::int32_t>& owners_of(std::int32_t v) { return owners_[is_apart(v)]; }
  bool has_result(const Step& s) const { return s.op < Micro::reduce; }

  // ---- sections ----

  // Backwards from stores: the steps that count; then the section of each.
  void find_needed() {
    values_.resize(trace_.size());
    const auto n = static_cast<std::int32_t>(trace_.size());
    for (std::int32_t v = n - 1; v >= 0; --v) {
      const Step& s = trace_[v];
      if (s.op >= Micro::store) values_[v].needed = true;
      if (!values_[v].needed) continue;
      for (const std::int32_t in : s.in)
        if (in != kNoValue) values_[in].needed = true;
      if (s.op == Micro::load || s.op == Micro::store || s.op == Micro::reduce)
        loops_.resize(std::max<std::size_t>(loops_.size(), s.loop + 1));
    }
    straight_.resize(loops_.size() + 1);
    for (std::int32_t v = 0; v < n; ++v) {
      const Step& s = trace_[v];
      if (!values_[v].needed || is_constant(v)) continue;
      std::int16_t section = s.op == Micro::row || s.op == Micro::store_row ? 0 : -1;
      for (const std::int32_t in : s.in)
        if (in != kNoValue) section = std::max(section, values_[in].section);
      const bool loops = s.op == Micro::load || s.op == Micro::store || s.op == Micro::reduce;
      if (loops) section = static_cast<std::int16_t>(2 * s.loop + 1);
      values_[v].section = section;
      const auto k = static_cast<std::size_t>(section / 2);
      (section < 0 ? once_ : section % 2 ? loops_[k].body : straight_[k]).push_back({v});
      if (s.op == Micro::reduce) {
        loops_[k].reductions.push_back(v);
        values_[v].section = static_cast<std::int16_t>(section + 1);  // where its result is
      }
      has_rare_ |= s.op == Micro::rare;
      if (s.op == Micro::load || s.op == Micro::store) place_of(s.bits);
    }
  }

  int place_of(std::uint32_t location) {
    std::size_t k = 0;
    while (k < locations_.size() && locations_[k] != location) ++k;
    if (k == locations_.size()) locations_.push_back(location);
    return static_cast<int>(k);
  }

  std::int16_t section_of(const Loop& loop) const {
    return static_cast<std::int16_t>(2 * (&loop - loops_.data()) + 1);
  }

  // A turn of a loop goes over several vectors, step by step, if the steps of one wait for each
  // other and registers suffice: a processor looks ahead by some hundred steps.
  void copy_body(Loop& loop) {
    const int most = rows_ ? static_cast<int>(kLanes) / facts_.lanes : kMostCopies;
    const auto reductions = static_cast<int>(loop.reductions.size());
    loop.in_registers = 2 * reductions * most <= facts_.registers;
    const int registers = facts_.registers - (loop.in_registers ? reductions * most : 0);
    const int needed = pressure(loop);
    int together = 1;
    const bool waits = 2 * latency(loop) > 3 * static_cast<int>(loop.body.size());
    while (waits && together < kMostCopies && (together + 1) * needed + 2 <= registers &&
           (together + 1) * loop.body.size() <= kLongestBody)
      ++together;
    if (rows_ && together == 3) together = 2;  // their turns are of a power of two
    loop.vectors = rows_ ? most : together;
    loop.together = together;
    loop.turn = copies(loop, together, false);
    if (rows_ && facts_.masks) loop.rest = copies(loop, together, true);
  }

  std::vector<Placed> copies(const Loop& loop, int together, bool masked) {
    std::vector<Placed> out;
    out.reserve(loop.body.size() * static_cast<std::size_t>(loop.vectors));
    std::vector<std::int32_t> copied(trace_.size() * static_cast<std::size_t>(together));
    const auto at = [&](std::int32_t v, int k) -> std::int32_t& {
      return copied[static_cast<std::size_t>(v * together + k)];
    };
    const std::int16_t section = section_of(loop);
    for (int first = 0; first < loop.vectors; first += together)
      for (const Placed& p : loop.body)
        for (int k = 0; k < together; ++k) {
          std::int32_t v = p.value;
          if (first + k > 0 || masked) {
            Step step = trace_[v];
            for (std::int32_t& in : step.in)
              if (in != kNoValue && !is_constant(in) && values_[in].section == section)
                in = at(in, k);
            v = static_cast<std::int32_t>(trace_.size());
            trace_.push_back(step);
            values_.push_back({.section = values_[p.value].section});
            if (step.op == Micro::reduce) trace_[v].bits = static_cast<std::uint32_t>(p.value);
          }
          at(p.value, k) = v;
          out.push_back({v, static_cast<std::uint8_t>(first + k), masked});
        }
    return out;
  }

  // Cycles from a vector's first step to its last, about.
  int latency(const Loop& loop) const {
    std::vector<int> ready(trace_.size());
    int latest = 0;
    for (const Placed& p : loop.body) {
      const Step& s = trace_[p.value];
      int begin = 0;
      for (const std::int32_t in : s.in)
        if (in != kNoValue) begin = std::max(begin, ready[in]);
      const bool slow = s.op == Micro::divide || s.op == Micro::sqrt;
      ready[p.value] = begin + (slow ? 12 : s.op == Micro::load ? 6 : 4);
      latest = std::max(latest, ready[p.value]);
    }
    return latest;
  }

  // The most vectors of a body that are live at once.
  int pressure(const Loop& loop) const {
    std::vector<std::int32_t> last(trace_.size(), -1);
    for (std::size_t k = 0; k < loop.body.size(); ++k)
      for (const std::int32_t in : trace_[loop.body[k].value].in)
        if (in != kNoValue) last[in] = static_cast<std::int32_t>(k);
    int live = 0, most = 1;
    const std::int16_t section = section_of(loop);
    for (std::size_t k = 0; k < loop.body.size(); ++k) {
      const Step& s = trace_[loop.body[k].value];
      for (int i = 0; i < 4; ++i) {
        const std::int32_t in = s.in[i];
        if (in == kNoValue || is_constant(in) || values_[in].section != section || is_apart(in) ||
            std::find(s.in, s.in + i, in) != s.in + i)
          continue;
        if (last[in] == static_cast<std::int32_t>(k)) --live;
      }
      if (has_result(s) && !is_apart(loop.body[k].value)) most = std::max(most, ++live);
    }
    return most;
  }

  // Where values are used, by the place of the step that reads.
  void find_uses() {
    std::vector<std::int32_t> count(trace_.size());
    const auto each_use = [&](auto visit) {
      std::int32_t place = 0;
      const auto list = [&](const std::vector<Placed>& steps) {
        for (const Placed& p : steps) {
          for (const std::int32_t in : trace_[p.value].in)
            if (in != kNoValue) visit(in, place);
          ++place;
        }
      };
      list(once_);
      for (std::size_t k = 0; k < loops_.size(); ++k)
        list(straight_[k]), list(loops_[k].turn), list(loops_[k].rest);
      list(straight_.back());
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
  // The next step that uses a value, after those that have been emitted.
  std::int32_t next_use(std::int32_t v) const {
    return values_[v].next == values_[v].end ? kNever : uses_[values_[v].next];
  }

  // ---- registers ----

  void release(std::int32_t v) {
    owners_of(v)[values_[v].reg] = kNoValue;
    values_[v].reg = -1;
  }
  void spill(std::int32_t v) {
    Value& value = values_[v];
    if (value.in_slot || is_constant(v)) return;
    if (value.slot < 0) value.slot = slots_++;
    a_.spill(value.reg, value.slot, is_apart(v));
    value.in_slot = true;
  }
  void reload(std::int32_t v) {
    if (is_constant(v))
      a_.constant(values_[v].reg, trace_[v].bits);
    else
      a_.reload(values_[v].reg, values_[v].slot, is_apart(v));
  }
  // Before code that runs again, what is in registers goes to slots.
  void flush() {
    for (auto& owners : owners_)
      for (const std::int32_t v : std::vector(owners)) {
        if (v < 0 || values_[v].pinned) continue;
        if (next_use(v) != kNever) spill(v);
        release(v);
      }
  }

  // A register that is free; what is used last makes room, but none of the step's operands.
  int make_room(std::vector<std::int32_t>& owners, std::span<const std::int32_t> operands) {
    int best = -1;
    std::int32_t latest = -1;
    for (int r = 0; r < static_cast<int>(owners.size()); ++r) {
      const std::int32_t owner = owners[r];
      if (owner == kNoValue) return r;
      if (owner == kReserved || values_[owner].pinned ||
          std::find(operands.begin(), operands.end(), owner) != operands.end())
        continue;
      if (const std::int32_t next = next_use(owner); next > latest) best = r, latest = next;
    }
    if (latest != kNever) spill(owners[best]);
    release(owners[best]);
    return best;
  }
  int take(std::int32_t v, std::span<const std::int32_t> operands) {
    std::vector<std::int32_t>& owners = owners_of(v);
    const int reg = make_room(owners, operands);
    owners[reg] = v;
    return values_[v].reg = reg;
  }

  // ---- loops ----

  void emit_loop(Loop& loop) {
    flush();
    for (const std::int32_t v : loop.reductions) begin_reduction(loop, v);
    const std::vector<std::int32_t> pinned = pin(loop);
    a_.begin_loop();
    emit(loop.turn);
    flush();
    a_.end_loop(loop.vectors);
    if (!loop.rest.empty()) {
      a_.begin_rest();
      emit(loop.rest);
      flush();
      a_.end_rest();
    }
    for (const std::int32_t v : pinned) {
      values_[v].pinned = false;
      if (next_use(v) != kNever) spill(v);
      release(v);
    }
    for (std::size_t k = 0; k < loop.reductions.size(); ++k) end_reduction(loop, k);
  }

  // What a loop reads of values from before it, and of constants that its instructions can have
  // neither in themselves nor in memory, is kept in registers that it can do without.
  std::vector<std::int32_t> pin(const Loop& loop) {
    std::vector<std::int32_t> reads(trace_.size()), read;
    for (const Placed& p : loop.turn)
      for (int i = 0; i < 4; ++i) {
        const std::int32_t in = trace_[p.value].in[i];
        if (in == kNoValue || !(is_constant(in) ? !a_.reads_memory(trace_[p.value], i)
                                                : values_[in].in_slot && !is_apart(in)))
          continue;
        if (reads[in]++ == 0) read.push_back(in);
      }
    std::stable_sort(read.begin(), read.end(),
                     [&](std::int32_t x, std::int32_t y) { return reads[x] > reads[y]; });
    // A step has up to four operands beside what is live, or one of them in memory.
    const int apart = a_.reads_memory({Micro::add}, 1) && !has_rare_ ? 3 : 4;
    auto spare = static_cast<int>(std::count(owners_[0].begin(), owners_[0].end(), kNoValue)) -
                 loop.together * pressure(loop) - apart;
    std::vector<std::int32_t> pinned;
    for (const std::int32_t v : read) {
      if (spare-- <= 0) break;
      take(v, {});
      reload(v);
      values_[v].pinned = true;
      pinned.push_back(v);
    }
    return pinned;
  }

  std::int32_t& accumulator(Loop& loop, std::size_t reduction, int copy) {
    return loop.accumulators[reduction * static_cast<std::size_t>(loop.vectors) + copy];
  }
  void begin_reduction(Loop& loop, std::int32_t v) {
    for (int copy = 0; copy < loop.vectors; ++copy) {
      const int reg = make_room(owners_[0], {});
      a_.constant(reg, trace_[v].bits);
      if (loop.in_registers) {
        owners_[0][reg] = kReserved;
        loop.accumulators.push_back(reg);
      } else {
        a_.spill(reg, slots_, false);
        loop.accumulators.push_back(slots_++);
      }
    }
  }
  void combine(Micro op, int out, int a, int b) {
    const Operand in[4] = {{Operand::Kind::reg, static_cast<std::uint32_t>(a)},
                           {Operand::Kind::reg, static_cast<std::uint32_t>(b)}};
    a_.emit(Step{op}, out, in);
  }
  // Combines a vector's elements with their lanes.
  void accumulate(Loop& loop, const Placed& p, int from, std::span<const std::int32_t> operands) {
    const Step& s = trace_[p.value];
    const bool first = p.copy == 0 && !p.masked;
    const std::int32_t v = first ? p.value : static_cast<std::int32_t>(s.bits);
    const auto k = std::find(loop.reductions.begin(), loop.reductions.end(), v);
    const std::int32_t at =
        accumulator(loop, static_cast<std::size_t>(k - loop.reductions.begin()), p.copy);
    int held = at;
    if (!loop.in_registers) {
      held = make_room(owners_[0], operands);
      a_.reload(held, at, false);
    }
    if (p.masked) {
      owners_[0][held] = kReserved;
      const int room = make_room(owners_[0], operands);
      if (!loop.in_registers) owners_[0][held] = kNoValue;
      combine(s.combine, room, held, from);
      a_.keep(held, room, p.copy);
    } else {
      combine(s.combine, held, held, from);
    }
    if (!loop.in_registers) a_.spill(held, at, false);
  }
  // Folds the lanes: halves onto halves.
  void end_reduction(Loop& loop, std::size_t k) {
    const std::int32_t v = loop.reductions[k];
    const Micro op = trace_[v].combine;
    std::vector<int> held;
    if (loop.in_registers) {
      for (int c = 0; c < loop.vectors; ++c) held.push_back(accumulator(loop, k, c));
    } else {
      held = {make_room(owners_[0], {})};
      owners_[0][held[0]] = kReserved;
    }
    const int other = make_room(owners_[0], {});
    for (int n = loop.vectors / 2; n > 0; n /= 2)
      for (int c = 0; c < n; ++c) {
        if (loop.in_registers) {
          combine(op, held[c], held[c], held[c + n]);
          continue;
        }
        a_.reload(held[0], accumulator(loop, k, c), false);
        a_.reload(other, accumulator(loop, k, c + n), false);
        combine(op, held[0], held[0], other);
        if (n > 1) a_.spill(held[0], accumulator(loop, k, c), false);
      }
    for (int lanes = facts_.lanes / 2; lanes > 0; lanes /= 2) {
      a_.fold(other, held[0], lanes);
      combine(op, held[0], held[0], other);
    }
    for (const int reg : held) owners_[0][reg] = kNoValue;
    if (next_use(v) == kNever) return;
    owners_[0][other] = v;
    values_[v].reg = other;
    a_.splat(other, held[0]);
  }

  // ---- steps ----

  void emit(const std::vector<Placed>& list) {
    for (const Placed& p : list) emit(p);
  }

  void emit(const Placed& p) {
    const std::int32_t v = p.value;
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
        reload(x);
      }
    }
    for (int i = 0; i < 4; ++i)
      if (s.in[i] != kNoValue && in[i].kind == Operand::Kind::none)
        in[i] = {Operand::Kind::reg, static_cast<std::uint32_t>(values_[s.in[i]].reg)};
    ++place_;
    for (const std::int32_t x : s.in) {
      if (x == kNoValue) continue;
      Value& value = values_[x];
      while (value.next < value.end && uses_[value.next] < place_) ++value.next;
    }
    const auto ends = [&](std::int32_t x) {
      return values_[x].reg >= 0 && !values_[x].pinned && next_use(x) == kNever;
    };
    // The result takes the register of an operand that ends here, or another.
    if (has_result(s)) {
      std::int32_t shared = kNoValue;
      for (int i = 0; i < 4; ++i)
        if (const std::int32_t x = s.in[i]; x != kNoValue && shared == kNoValue && ends(x) &&
                                            is_apart(x) == is_apart(v) && a_.may_share(s, i))
          shared = x;
      if (shared != kNoValue) {
        values_[v].reg = values_[shared].reg;
        values_[shared].reg = -1;
        owners_of(v)[values_[v].reg] = v;
      } else {
        take(v, s.in);
      }
    }
    const int out = values_[v].reg, from = static_cast<int>(in[0].value);
    switch (s.op) {
      case Micro::load: a_.load(out, s.dtype, place_of(s.bits), p.copy); break;
      case Micro::broadcast:
      case Micro::row: a_.broadcast(out, s.dtype, s.bits); break;
      case Micro::store: a_.store(from, s.dtype, place_of(s.bits), p.copy, s.streams); break;
      case Micro::store_row: a_.store_row(from, s.dtype, s.bits); break;
      case Micro::reduce: accumulate(loops_[s.loop], p, from, s.in); break;
      default: a_.emit(s, out, in);
    }
    for (const std::int32_t x : s.in)
      if (x != kNoValue && ends(x)) release(x);
    if (has_result(s) && next_use(v) == kNever) release(v);
  }

  std::vector<Step> trace_;
  Assembler& a_;
  const Assembler::Facts facts_;
  const std::optional<Rows> rows_;
  std::vector<Value> values_;
  std::vector<Placed> once_;
  std::vector<std::vector<Placed>> straight_;
  std::vector<Loop> loops_;
  std::vector<std::int32_t> uses_;
  std::vector<std::uint32_t> locations_;
  std::vector<std::int32_t> owners_[2];  // of registers: vectors, conditions
  std::int32_t place_ = 0;               // of the step that is emitted next
  int slots_ = 0;
  bool has_rare_ = false;
};

}  // namespace

Generated generate(const Trace& trace, Assembler& assembler, const std::optional<Rows>& rows) {
  return Generator(trace, assembler, rows).run();
}

}  // namespace cermet::cpu::machine
