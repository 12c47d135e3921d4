// Calls of loops become calls of machine code: all that follow each other and can be recorded are
// one, whose values stay in registers.
#include <algorithm>

#include "cpu/program/calls.h"
#include "cpu/program/columns.h"
#include "cpu/program/rows.h"

namespace cermet::cpu {
namespace {

constexpr std::int64_t kCodeTile = 16 * 1024;  // elements

using machine::kNoValue;
using machine::Micro;
using machine::Step;

class Compiler final : CallRecorder {
 public:
  Compiler(const Lowered& program, bool streams, Lowered& out, const Pass& from, Pass& to)
      : CallRecorder(program, streams), out_(out), from_(from), to_(to) {
    for (const Moving& m : from_.moving) at(m.location).moves = true;
  }

  void run() {
    to_.calls.clear();
    for (place_ = 0; place_ < from_.calls.size(); ++place_) {
      const Call& call = from_.calls[place_];
      if (takes(call)) continue;
      close();
      to_.calls.push_back(call);
    }
    close();
  }

 private:
  std::int32_t load(Location location, Dtype dtype) override {
    at(location).loaded = size_of(dtype);
    return put_load(location, dtype, at(location).is_scalar ? Micro::broadcast : Micro::load);
  }
  void store(Location location, Dtype dtype, std::int32_t value) override {
    const auto same = [&](const Moving& m) { return m.location == location && m.port >= 0; };
    const bool streams = streams_ && std::any_of(from_.moving.begin(), from_.moving.end(), same);
    put_store(location, dtype, value, Micro::store, 0, streams);
  }

  // Where a port's elements are, that are read and written in their own type.
  Location place_of(const Call& call) {
    const Port& port = p_.ports[call.a];
    const Location location = p_.values + port.value;
    const auto same = [&](const Moving& m) { return m.location == location; };
    if (std::none_of(to_.moving.begin(), to_.moving.end(), same))
      to_.moving.push_back({location, static_cast<std::int32_t>(call.a), 0, size_of(port.dtype)});
    return location;
  }

  // Elements of another size would be written over those that are still to be read.
  void make_way(Location location, Dtype dtype) {
    const Held& held = at(location);
    if (held.loaded && held.loaded != size_of(dtype) && !held.moves) close();
  }

  // Records a call, where that can be.
  bool takes(const Call& call) {
    if (call.kind < Call::Kind::load) {
      make_way(call.out, call.kind == Call::Kind::round ? float32 : call.result);
      return records(call);
    }
    const Dtype dtype = p_.ports[call.a].dtype;
    const bool linear = p_.ports[call.a].linear, loads = call.kind == Call::Kind::load;
    if (!machine::is_recorded(dtype) || !(linear || loads)) return false;
    if (loads) make_way(call.out, tile_dtype(dtype));
    if (!linear) {  // gathered before the code, to a place of its own
      to_.calls.push_back(call);
      to_.calls.back().out = 2 * p_.values + out_.registers++;
      write(call.out, load(to_.calls.back().out, tile_dtype(dtype)), tile_dtype(dtype));
    } else if (loads) {
      write(call.out, load(place_of(call), dtype), tile_dtype(dtype));
    } else {
      put_store(place_of(call), dtype, read(call.out, tile_dtype(dtype)), Micro::store, 0,
                streams_);
    }
    return true;
  }

  // Whether something behind the open code reads a location as the code leaves it.
  bool is_read_later(Location location) const {
    for (std::size_t k = place_; k < from_.calls.size(); ++k) {
      const Call& call = from_.calls[k];
      if (call.kind == Call::Kind::store && call.out == location) return true;
      if (call.kind < Call::Kind::load) {
        const bool single = call.kind == Call::Kind::round || call.op == Op::cast;
        const Location in[3] = {call.a, call.b, call.c};
        const int arity = single ? 1 : info(call.op).arity;
        if (std::find(in, in + arity, location) != in + arity) return true;
      }
      if (call.kind != Call::Kind::store && call.out == location) return false;
    }
    return std::any_of(from_.reductions.begin(), from_.reductions.end(),
                       [&](const Reduction& r) { return r.in == location; });
  }

  // Ends the open code.
  void close() {
    std::sort(written_.begin(), written_.end());
    written_.erase(std::unique(written_.begin(), written_.end()), written_.end());
    for (const Location location : written_)
      if (!at(location).moves && is_read_later(location))
        put_store(location, at(location).dtype, at(location).value);
    const std::vector<Step>& steps = trace_.steps();
    if (std::any_of(steps.begin(), steps.end(),
                    [](const Step& s) { return s.op == Micro::store; })) {
      out_.codes.push_back(machine::compile(trace_));
      Call call;
      call.kind = Call::Kind::code;
      call.code = out_.codes.back().get();
      to_.calls.push_back(call);
    }
    trace_ = {};
    written_.clear();
    for (Held& held : held_) held.value = kNoValue, held.loaded = 0;
  }

  Lowered& out_;
  const Pass& from_;
  Pass& to_;
  std::size_t place_ = 0;  // of the call that is looked at
};

}  // namespace

Lowered with_code(const Lowered& p, bool streams) {
  Lowered out = p;
  if (p.layout.by_rows && !p.layout.in_blocks && (out.rows = compile_rows(p, streams))) return out;
  for (std::size_t i = 0; i < p.passes.size(); ++i) {
    if (p.layout.by_rows && p.layout.in_blocks &&
        !(p.passes[i].calls.empty() && p.passes[i].reductions.empty()))
      out.passes[i].code = compile_pass(p, i, streams);
    if (p.layout.by_columns && !p.passes[i].calls.empty() && !p.passes[i].reductions.empty())
      for (const std::uint32_t steps : {ColumnCode::kSteps, 1u})
        if (steps <= p.layout.by_columns)
          out.passes[i].columns[steps == 1] = compile_columns(p, p.passes[i], steps);
    Compiler(p, streams, out, p.passes[i], out.passes[i]).run();
  }
  // Code alone keeps nothing in tiles, and reads of a scalar one element.
  const auto is_code = [](const Call& call) { return call.kind == Call::Kind::code; };
  if (const std::vector<Call>& calls = out.passes[0].calls;
      p.layout.geometry == Geometry::flat && std::all_of(calls.begin(), calls.end(), is_code)) {
    if (p.products == 0) out.tile = kCodeTile;
    out.splat = 1;
    out.registers = 0;
  }
  return out;
}

}  // namespace cermet::cpu
