// Calls of loops become calls of machine code: all that follow each other and can be recorded are
// one, whose values stay in registers.
#include <algorithm>

#include "cpu/machine/record.h"
#include "cpu/program/lowered.h"

namespace cermet::cpu {
namespace {

constexpr std::int64_t kCodeTile = 16 * 1024;  // elements

using machine::kNoValue;
using machine::Micro;
using machine::Step;

class Compiler {
 public:
  Compiler(const Lowered& program, Lowered& out, const Pass& from, Pass& to)
      : p_(program), out_(out), from_(from), to_(to), held_(2 * p_.values + p_.registers) {
    for (const SmallValue& v : p_.small)
      if (v.extent == Extent::scalar) at(v.id).is_scalar = true;
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
  // What is known of a location.
  struct Held {
    std::int32_t value = kNoValue;
    Dtype dtype = float32;   // of the value
    bool is_scalar = false;  // all elements are equal
    bool moves = false;      // it is memory that outlives the tile
    std::size_t loaded = 0;  // bytes of the elements that the open code reads there
  };
  Held& at(Location location) {
    if (location >= held_.size()) held_.resize(location + 1);
    return held_[location];
  }

  // The value at a location: one that the open code has computed, or what is there before.
  std::int32_t read(Location location, Dtype dtype) {
    Held& held = at(location);
    if (held.value == kNoValue)
      held.value = load(location, dtype, held.is_scalar ? Micro::broadcast : Micro::load);
    return held.value;
  }
  std::int32_t load(Location location, Dtype dtype, Micro op) {
    at(location).loaded = size_of(dtype);
    Step step{op};
    step.bits = location;
    step.dtype = dtype;
    const std::int32_t value = trace_.put(step);
    return dtype == bool_ ? trace_.put(Micro::int_not_equal, value, trace_.constant(0)) : value;
  }
  void store(Location location, Dtype dtype, std::int32_t value) {
    if (dtype == bool_)
      value = trace_.put(Micro::select, value, trace_.constant(1), trace_.constant(0));
    if (dtype == bfloat16) value = trace_.put(Micro::round_bfloat16, value);
    Step step{Micro::store};
    step.bits = location;
    step.dtype = dtype;
    step.in[0] = value;
    trace_.put(step);
  }
  void write(Location location, std::int32_t value, Dtype dtype) {
    at(location).value = value;
    at(location).dtype = dtype;
    written_.push_back(location);
    if (at(location).moves) store(location, dtype, value);
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

  // Records a call, where that can be.
  bool takes(const Call& call) {
    switch (call.kind) {
      case Call::Kind::round: {
        const Micro op = call.result == float16 ? Micro::round_float16 : Micro::round_bfloat16;
        write(call.out, trace_.put(op, read(call.a, float32)), float32);
        return true;
      }
      case Call::Kind::operation: return takes_operation(call);
      case Call::Kind::load:
      case Call::Kind::store: {
        const Dtype dtype = p_.ports[call.a].dtype;
        const bool linear = p_.ports[call.a].linear, loads = call.kind == Call::Kind::load;
        if (!machine::is_recorded(dtype) || !(linear || loads)) return false;
        if (!linear) {  // gathered before the code, to a place of its own
          to_.calls.push_back(call);
          to_.calls.back().out = 2 * p_.values + out_.registers++;
          write(call.out, load(to_.calls.back().out, tile_dtype(dtype), Micro::load),
                tile_dtype(dtype));
        } else if (loads) {
          write(call.out, load(place_of(call), dtype, Micro::load), tile_dtype(dtype));
        } else {
          store(place_of(call), dtype, read(call.out, tile_dtype(dtype)));
        }
        return true;
      }
      default: return false;
    }
  }
  bool takes_operation(const Call& call) {
    if (!machine::is_recorded(call.compute) || !machine::is_recorded(call.result)) return false;
    const int arity = call.op == Op::cast ? 1 : info(call.op).arity;
    const Location locations[3] = {call.a, call.b, call.c};
    std::int32_t in[3] = {kNoValue, kNoValue, kNoValue};
    for (int i = 0; i < arity; ++i)
      in[i] = read(locations[i], call.op == Op::select && i == 0 ? bool_ : call.compute);
    const std::int32_t value = call.op == Op::cast
                                   ? machine::record_cast(trace_, call.compute, call.result, in[0])
                                   : machine::record(trace_, call.op, call.compute, in);
    if (value == kNoValue) return false;
    write(call.out, value, call.result);
    return true;
  }

  // Whether something behind the open code reads a location as the code leaves it.
  bool is_read_later(Location location) const {
    for (std::size_t k = place_; k < from_.calls.size(); ++k) {
      const Call& call = from_.calls[k];
      if (call.kind == Call::Kind::store && call.out == location) return true;
      if (call.kind < Call::Kind::load) {
        const int arity =
            call.kind == Call::Kind::round || call.op == Op::cast ? 1 : info(call.op).arity;
        const Location in[3] = {call.a, call.b, call.c};
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
        store(location, at(location).dtype, at(location).value);
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

  const Lowered& p_;
  Lowered& out_;
  const Pass& from_;
  Pass& to_;
  std::vector<Held> held_;  // by location
  std::vector<Location> written_;
  machine::Trace trace_;
  std::size_t place_ = 0;  // of the call that is looked at
};

}  // namespace

Lowered with_code(const Lowered& p) {
  Lowered out = p;
  for (std::size_t i = 0; i < p.passes.size(); ++i)
    Compiler(p, out, p.passes[i], out.passes[i]).run();
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
