// From a program's instructions to calls of loops: passes, registers, and what is kept between
// passes.
#include <stdexcept>
#include <string>

#include "cpu/program/lowered.h"

namespace cermet::cpu {
namespace {

constexpr Location kNone = 0xffffffff;

class Lowering {
 public:
  Lowering(const Program& program, const LayoutClass& layout)
      : p_(program),
        loops_(loops()),
        port_of_(program.values.size(), -1),
        output_of_(program.values.size(), -1),
        slot_(program.values.size(), kNone),
        kept_(program.values.size()) {
    out_.layout = layout;
    out_.outer = p_.outer;
    out_.reduced = p_.reduced;
    out_.values = static_cast<Location>(p_.values.size());
    out_.inputs = p_.inputs.size();
    out_.products = p_.products;
    out_.ports.resize(p_.inputs.size());
    for (ValueId v = 0; v < p_.values.size(); ++v) {
      const Value& x = value(v);
      if (x.from == Value::From::input) {
        out_.ports[x.index] = {v, x.dtype, x.extent, layout.linear[x.index]};
        port_of_[v] = static_cast<int>(x.index);
      }
      if (x.extent != Extent::full) out_.small.push_back({v, x.extent, x.dtype, x.from, x.index});
    }
    for (const ProgramOutput& o : p_.outputs) {
      const Value& x = value(o.value);
      output_of_[o.value] = static_cast<int>(out_.ports.size());
      out_.ports.push_back({o.value, x.dtype, x.extent, layout.linear[out_.ports.size()]});
    }
    out_.passes.resize(p_.phases);
    for (int pass = p_.phases - 1; pass >= 0; --pass) lower_pass(pass);
  }

  Lowered take() { return std::move(out_); }

 private:
  const Value& value(ValueId id) const { return p_.values[id]; }
  bool is_full(ValueId id) const { return value(id).extent == Extent::full; }
  // Where a full instruction finds an operand: a value of less than full extent is expanded.
  Location operand(ValueId id) const {
    return value(id).extent == Extent::row ? out_.values + id : id;
  }
  int phase_of(ValueId id) const { return p_.instructions[value(id).index].phase; }
  bool is_direct_output(ValueId id) const {
    return output_of_[id] >= 0 && out_.ports[output_of_[id]].direct();
  }

  // Whether a reduction can read an input of halves where it is.
  bool reads_halves(ValueId id) const {
    return out_.layout.geometry == Geometry::lanes && value(id).from == Value::From::input &&
           is_full(id) && is_half(value(id).dtype) && out_.ports[port_of_[id]].linear;
  }

  // The input in memory whose squares are this value, where nothing but one sum reads them: the sum
  // squares them itself.
  ValueId summed_squares(const Instruction& sum) const {
    const ValueId v = sum.in[0];
    if (value(v).from != Value::From::instruction || !is_full(v) || output_of_[v] >= 0 ||
        out_.layout.geometry != Geometry::lanes || combine_op(sum.reduce) != Op::add)
      return kNoValue;
    const Instruction& square = p_.instructions[value(v).index];
    const bool squares =
        square.op == Op::square || (square.op == Op::multiply && square.in[0] == square.in[1]);
    const ValueId in = square.in[0];
    if (square.is_reduce || !squares || value(in).from != Value::From::input || !is_full(in) ||
        !out_.ports[port_of_[in]].direct() || sum.compute != value(in).dtype ||
        !loops_.squares[static_cast<int>(sum.compute)].rows)
      return kNoValue;
    int readers = 0;
    for (const Instruction& ins : p_.instructions)
      for (const ValueId read : ins.in) readers += read == v;
    return readers == 1 ? in : kNoValue;
  }

  Loop loop_of(const Instruction& ins) const {
    const Dtype from = tile_dtype(ins.compute), to = tile_dtype(value(ins.out).dtype);
    if (ins.op == Op::cast) return loops_.cast[static_cast<int>(from)][static_cast<int>(to)];
    return loops_.op[static_cast<int>(ins.op)][static_cast<int>(from)];
  }

  // Appends the calls of an instruction: its loop, and the rounding to a 16-bit type.
  template <class Where>
  void emit(std::vector<Call>& calls, const Instruction& ins, Location out, Where where) const {
    const Dtype result = value(ins.out).dtype;
    const bool rounds = is_half(result);
    Call call;
    call.op = ins.op;
    call.compute = tile_dtype(ins.compute);
    call.result = tile_dtype(result);
    call.out = out;
    call.a = where(ins.in[0]);
    if (ins.in[1] != kNoValue) call.b = where(ins.in[1]);
    if (ins.in[2] != kNoValue) call.c = where(ins.in[2]);
    if (rounds && ins.op == Op::cast && tile_dtype(ins.compute) == float32)
      return calls.push_back(rounding(result, out, call.a));
    call.loop = loop_of(ins);
    if (!call.loop)
      throw std::invalid_argument(std::string(info(ins.op).name) + ": " +
                                  std::string(name_of(ins.compute)) + " is not supported");
    calls.push_back(call);
    if (rounds) calls.push_back(rounding(result, out, out));
  }
  Call rounding(Dtype half, Location out, Location in) const {
    Call round;
    round.kind = Call::Kind::round;
    round.loop = loops_.round[static_cast<int>(half)];
    round.result = half;
    round.out = out;
    round.a = in;
    return round;
  }

  // The instructions of one pass over a unit's tiles, with registers for their values.
  void lower_pass(int pass) {
    Pass& out = out_.passes[pass];
    for (const Instruction& ins : p_.instructions)
      if (!ins.is_reduce && value(ins.out).extent == Extent::row && ins.phase == pass)
        emit(out.row_calls, ins, ins.out, [](ValueId v) { return v; });

    // What the pass must compute, backwards from reductions, outputs and what later passes read.
    std::vector<char> needed(p_.values.size());
    const auto need = [&](ValueId v) {
      if (!is_full(v) || needed[v]) return;
      const bool earlier = value(v).from == Value::From::instruction && phase_of(v) < pass;
      if (out_.layout.keeps && earlier)
        keep(v);
      else
        needed[v] = 1;
    };
    for (const Instruction& ins : p_.instructions)
      if (ins.is_reduce && ins.phase == pass + 1 && summed_squares(ins) == kNoValue)
        need(ins.in[0]);
    for (const ProgramOutput& o : p_.outputs)
      if (is_full(o.value) && phase_of(o.value) == pass) needed[o.value] = 1;
    for (ValueId v = 0; v < p_.values.size(); ++v)
      if (kept_[v] && phase_of(v) == pass) needed[v] = 1;
    for (std::size_t k = p_.instructions.size(); k-- > 0;) {
      const Instruction& ins = p_.instructions[k];
      if (!ins.is_reduce && is_full(ins.out) && needed[ins.out])
        for (ValueId in : ins.in)
          if (in != kNoValue) need(in);
    }

    // Forward, in registers.
    std::vector<std::size_t> last(p_.values.size());
    std::vector<const Instruction*> order;
    for (const Instruction& ins : p_.instructions) {
      if (ins.is_reduce || !is_full(ins.out) || !needed[ins.out]) continue;
      for (ValueId in : ins.in)
        if (in != kNoValue) last[in] = order.size();
      order.push_back(&ins);
    }
    for (const Instruction& ins : p_.instructions)
      if (ins.is_reduce && ins.phase == pass + 1) last[ins.in[0]] = order.size();

    std::vector<Location> free_registers;
    std::vector<Location> home(p_.values.size(), kNone);  // where a value is in this pass
    std::vector<char> in_register(p_.values.size());
    std::vector<char> expanded(p_.values.size());
    const auto take_register = [&](ValueId v) {
      if (free_registers.empty()) free_registers.push_back(2 * out_.values + out_.registers++);
      home[v] = free_registers.back();
      free_registers.pop_back();
      in_register[v] = 1;
    };
    const auto port_call = [&](Call::Kind kind, Location at, int port) {
      Call call;
      call.kind = kind;
      call.out = at;
      call.a = static_cast<Location>(port);
      out.calls.push_back(call);
    };
    const auto read = [&](ValueId v) -> Location {
      if (!is_full(v)) {
        if (value(v).extent == Extent::row && !expanded[v]) {
          expanded[v] = 1;
          out.expanded.push_back({v, Extent::row, value(v).dtype, value(v).from, value(v).index});
        }
        return operand(v);
      }
      if (home[v] != kNone) return home[v];
      if (value(v).from != Value::From::input) {  // from an earlier pass
        home[v] = v;
        out.moving.push_back(moving(v));
      } else if (const int port = port_of_[v]; out_.ports[port].direct()) {
        home[v] = v;
        out.moving.push_back({v, port, 0, size_of(value(v).dtype)});
      } else if (const Dtype dtype = value(v).dtype; port < static_cast<int>(p_.products)) {
        // A tile of halves has float32 that are not rounded yet.
        take_register(v);
        out.moving.push_back({v, port, 0, size_of(float32)});
        out.calls.push_back(rounding(dtype, home[v], v));
      } else {
        take_register(v);
        port_call(Call::Kind::load, home[v], port);
      }
      return home[v];
    };
    const auto release = [&](ValueId v) {
      in_register[v] = 0;
      free_registers.push_back(home[v]);
    };
    for (std::size_t k = 0; k < order.size(); ++k) {
      const Instruction& ins = *order[k];
      for (ValueId in : ins.in)
        if (in != kNoValue) read(in);
      const bool writes = phase_of(ins.out) == pass;
      const bool direct = writes && is_direct_output(ins.out);
      if (direct || (writes && kept_[ins.out])) {
        home[ins.out] = ins.out;
        out.moving.push_back(moving(ins.out));
      } else {
        take_register(ins.out);
      }
      emit(out.calls, ins, home[ins.out], read);
      const bool ends = in_register[ins.out] && last[ins.out] <= k;  // nothing reads it further
      if (writes && output_of_[ins.out] >= 0 && !direct) {
        Location from = home[ins.out];
        if (ends && is_half(value(ins.out).dtype)) {  // the store rounds, too
          from = out.calls.back().a;
          out.calls.pop_back();
        }
        port_call(Call::Kind::store, from, output_of_[ins.out]);
      }
      for (ValueId in : ins.in)
        if (in != kNoValue && in_register[in] && last[in] == k) release(in);
      if (ends) release(ins.out);
    }
    for (const Instruction& ins : p_.instructions)
      if (ins.is_reduce && ins.phase == pass + 1) {
        const Dtype dtype = tile_dtype(ins.compute), result = value(ins.out).dtype;
        const int op = static_cast<int>(combine_op(ins.reduce)), t = static_cast<int>(dtype);
        const ValueId squared = summed_squares(ins);
        const ValueId v = squared == kNoValue ? ins.in[0] : squared;
        if (reads_halves(v) && home[v] == kNone) {
          home[v] = v;
          out.moving.push_back({v, port_of_[v], 0, size_of(value(v).dtype)});
        }
        const Location in = read(v);
        const Dtype from = reads_halves(v) && in == v ? value(v).dtype : dtype;
        const int f = static_cast<int>(from);
        std::int32_t place = static_cast<std::int32_t>(out.moving.size());
        while (--place >= 0 && out.moving[place].location != in) {
        }
        out.reductions.push_back(
            {dtype, from, in, place, ins.out, loops_.op[op][t], loops_.reduce_rows[op][f],
             loops_.reduce_rows[op][t], loops_.reduce_columns[op][f], loops_.reduce_block[op][f],
             loops_.reduce_block[op][t],
             is_half(result) ? loops_.round[static_cast<int>(result)] : nullptr,
             combine_op(ins.reduce), squared != kNoValue});
        if (squared == kNoValue) continue;
        Reduction& r = out.reductions.back();
        r.rows = loops_.squares[t].rows;
        r.columns = loops_.squares[t].columns;
        r.block = loops_.squares[t].block;
      }
    out_.reductions = std::max(out_.reductions, out.reductions.size());
  }

  // Gives a value that later passes read a place that outlives the tile.
  void keep(ValueId v) {
    if (kept_[v]) return;
    kept_[v] = 1;
    if (!is_direct_output(v)) slot_[v] = out_.slots++;
  }
  Moving moving(ValueId v) const {
    const std::size_t size = size_of(tile_dtype(value(v).dtype));
    if (is_direct_output(v)) return {v, output_of_[v], 0, size};
    return {v, -1, slot_[v], size};
  }

  const Program& p_;
  const Loops& loops_;
  Lowered out_;
  std::vector<int> port_of_, output_of_;
  std::vector<std::uint32_t> slot_;  // a kept value's place in scratch memory
  std::vector<char> kept_;
};

}  // namespace

Lowered lower(const Program& program, const LayoutClass& layout) {
  return Lowering(program, layout).take();
}

}  // namespace cermet::cpu
