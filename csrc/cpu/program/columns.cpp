// Columns that are reduced, as code: a function adds eight steps of one lane at once, so that their
// memory is read in as many streams and the lane's values are read and written once; what is left
// over is added step by step.
#include "cpu/program/columns.h"

#include <algorithm>

#include "cpu/program/calls.h"

namespace cermet::cpu {
namespace {

using machine::kNoValue;
using machine::Micro;
using Kind = ColumnCode::Place::Kind;

constexpr std::size_t kMostCalls = 32;  // of others memory is not what takes the time

class ColumnCompiler final : CallRecorder {
 public:
  ColumnCompiler(const Lowered& program, const Pass& pass)
      : CallRecorder(program, false), pass_(pass) {}

  std::shared_ptr<const ColumnCode> run(std::uint32_t steps) {
    if (pass_.calls.size() > kMostCalls) return nullptr;
    auto out = std::make_shared<ColumnCode>();
    out->steps = steps;
    std::vector<std::int32_t> sums;
    std::vector<Micro> combine;
    for (std::uint32_t k = 0; k < pass_.reductions.size(); ++k) {
      const Reduction& r = pass_.reductions[k];
      if (size_of(r.dtype) != 4 || !machine::is_recorded(r.dtype) || !machine::is_recorded(r.from))
        return nullptr;
      const auto [op, nothing] = combination(r);
      combine.push_back(op);
      out->nothing.push_back(nothing);
      sums.push_back(put_load(place_of(Kind::result, k), r.dtype, Micro::load));
    }
    for (step_ = 0; step_ < steps; ++step_) {
      std::fill(held_.begin(), held_.end(), Held());
      for (const Moving& m : pass_.moving) at(m.location).moves = true;
      for (const SmallValue& v : pass_.expanded) {
        if (!machine::is_recorded(v.dtype)) return nullptr;
        at(p_.values + v.id).value =
            put_load(place_of(Kind::value, v.id), tile_dtype(v.dtype), Micro::load);
      }
      for (const Call& call : pass_.calls)
        if (!takes(call)) return nullptr;
      for (std::size_t k = 0; k < sums.size(); ++k) {
        const Reduction& r = pass_.reductions[k];
        std::int32_t value = at(r.in).value == kNoValue ? load(r.in, r.from) : at(r.in).value;
        if (r.squares) value = trace_.put(Micro::multiply, value, value);
        sums[k] = trace_.put(combine[k], sums[k], value);
      }
    }
    for (std::uint32_t k = 0; k < sums.size(); ++k)
      put_store(place_of(Kind::result, k), pass_.reductions[k].dtype, sums[k]);
    out->places = places_;
    out->code = machine::compile(trace_);
    return out;
  }

 private:
  std::uint32_t place_of(Kind kind, std::uint32_t index, std::size_t size = 0) {
    const bool each = kind == Kind::port || kind == Kind::scratch;
    const ColumnCode::Place place{kind, index, each ? step_ : 0, static_cast<std::uint32_t>(size)};
    std::uint32_t k = 0;
    while (k < places_.size() && !(places_[k] == place)) ++k;
    if (k == places_.size()) places_.push_back(place);
    return k;
  }
  std::uint32_t place_of_port(std::size_t port) {
    return place_of(Kind::port, static_cast<std::uint32_t>(port), size_of(p_.ports[port].dtype));
  }
  std::uint32_t place_of(const Moving& m) {
    return m.port >= 0 ? place_of_port(static_cast<std::size_t>(m.port))
                       : place_of(Kind::scratch, m.slot, m.size);
  }
  const Moving& moving(Location location) const {
    return *std::find_if(pass_.moving.begin(), pass_.moving.end(),
                         [&](const Moving& m) { return m.location == location; });
  }

  std::int32_t load(Location location, Dtype dtype) override {
    if (at(location).moves) {
      const Moving& m = moving(location);
      if (m.port >= 0) return load_port(static_cast<std::size_t>(m.port));
      return put_load(place_of(m), dtype, Micro::load);
    }
    return put_load(place_of(Kind::value, location), dtype, Micro::broadcast);
  }
  void store(Location location, Dtype dtype, std::int32_t value) override {
    put_store(place_of(moving(location)), dtype, value);
  }
  // Elements, or the one that all columns have.
  std::int32_t load_port(std::size_t port) {
    const Dtype dtype = p_.ports[port].dtype;
    const std::uint32_t place = place_of_port(port);
    if (!p_.layout.constant[port]) return put_load(place, dtype, Micro::load);
    if (!is_half(dtype)) return put_load(place, dtype, Micro::broadcast);
    return machine::record_widening(trace_, dtype, put_load(place, uint16, Micro::broadcast));
  }

  bool takes(const Call& call) {
    if (call.kind < Call::Kind::load) return records(call);
    const Dtype dtype = p_.ports[call.a].dtype;
    if (!machine::is_recorded(dtype)) return false;
    if (call.kind == Call::Kind::load)
      write(call.out, load_port(call.a), tile_dtype(dtype));
    else
      put_store(place_of_port(call.a), dtype, read(call.out, tile_dtype(dtype)));
    return true;
  }

  const Pass& pass_;
  std::uint32_t step_ = 0;
  std::vector<ColumnCode::Place> places_;
};

}  // namespace

std::shared_ptr<const ColumnCode> compile_columns(const Lowered& program, const Pass& pass,
                                                  std::uint32_t steps) {
  return ColumnCompiler(program, pass).run(steps);
}

}  // namespace cermet::cpu
