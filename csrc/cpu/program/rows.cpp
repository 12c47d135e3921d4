// A row's passes become loops of one function; what is of the row alone stands between them.
#include "cpu/program/rows.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <tuple>
#include <utility>

#include "cpu/layout.h"
#include "cpu/parallel.h"
#include "cpu/program/calls.h"
#include "eval/interrupt.h"
#include "graph/layout.h"

namespace cermet::cpu {
namespace {

using machine::kNoValue;
using machine::Micro;
using machine::Step;
using Kind = RowCode::Place::Kind;

constexpr std::int64_t kElementsOfCall = 1 << 18;  // between which a run can be interrupted
constexpr std::int64_t kWork = 1 << 17;            // elements of loops that a thread should get

class RowCompiler final : CallRecorder {
 public:
  RowCompiler(const Lowered& program, bool streams)
      : CallRecorder(program, streams), is_small_(p_.values) {
    for (const SmallValue& v : p_.small) is_small_[v.id] = true;
  }

  std::shared_ptr<const RowCode> run() {
    for (std::size_t k = 0; k < p_.passes.size(); ++k)
      if (!takes_pass(k)) return nullptr;
    for (std::size_t i = p_.inputs; i < p_.ports.size(); ++i)
      if (const Port& port = p_.ports[i]; port.extent != Extent::full)
        put_store(place_of_port(i), port.dtype, read(port.value, tile_dtype(port.dtype)),
                  Micro::store_row);
    return code();
  }
  // A pass over a block: values of the row are there, and results are left for the caller.
  std::shared_ptr<const RowCode> run_pass(std::size_t k) {
    one_pass_ = true;
    if (!takes_pass(k)) return nullptr;
    for (std::uint32_t i = 0; i < p_.passes[k].reductions.size(); ++i) {
      const Reduction& r = p_.passes[k].reductions[i];
      put_store(place_of(places_, Kind::result, i), r.dtype, at(r.out).value, Micro::store_row);
    }
    return code();
  }

 private:
  std::shared_ptr<const RowCode> code() {
    auto out = std::make_shared<RowCode>();
    out->scalars = static_cast<std::uint32_t>(places_.size());
    out->places = places_;
    out->places.insert(out->places.end(), scalars_.begin(), scalars_.end());
    std::vector<std::uint32_t> advancing(places_.size());
    for (std::uint32_t i = 0; i < advancing.size(); ++i) advancing[i] = i;
    // Scalars were recorded before it was known where they begin.
    trace_.move_scalars(kScalars, out->scalars);
    out->code = machine::compile(
        trace_, machine::Rows{advancing, static_cast<std::uint32_t>(out->places.size())});
    return out;
  }

  std::uint16_t loop() const { return one_pass_ ? 0 : pass_; }

  static constexpr std::uint32_t kScalars = 1u << 20;  // places of scalars, until others are known

  std::uint32_t place_of(std::vector<RowCode::Place>& places, Kind kind, std::uint32_t index,
                         std::size_t size = 0) {
    std::uint32_t k = 0;
    while (k < places.size() && (places[k].kind != kind || places[k].index != index)) ++k;
    if (k == places.size()) places.push_back({kind, index, static_cast<std::uint32_t>(size)});
    return k;
  }
  std::uint32_t place_of_port(std::size_t port) {
    return place_of(places_, Kind::port, static_cast<std::uint32_t>(port));
  }
  std::uint32_t place_of(const Moving& m) {
    return m.port >= 0 ? place_of_port(static_cast<std::size_t>(m.port))
                       : place_of(places_, Kind::scratch, m.slot, m.size);
  }

  std::int32_t load(Location location, Dtype dtype) override {
    if (at(location).moves) {
      const Moving& m = *moving(location);
      if (m.port >= 0) return load_port(static_cast<std::size_t>(m.port));
      return put_load(place_of(m), dtype, Micro::load, loop());
    }
    const auto small = std::find_if(p_.small.begin(), p_.small.end(),
                                    [&](const SmallValue& v) { return v.id == location; });
    if (small->extent == Extent::scalar) {
      const auto k = static_cast<std::uint32_t>(small - p_.small.begin());
      return put_load(kScalars + place_of(scalars_, Kind::scalar, k), dtype, Micro::broadcast);
    }
    if (one_pass_) return put_load(place_of(places_, Kind::value, small->id), dtype, Micro::row);
    return load_row(small->index);
  }
  void store(Location location, Dtype dtype, std::int32_t value) override {
    const Moving& m = *moving(location);
    put_store(place_of(m), dtype, value, Micro::store, loop(), streams_ && m.port >= 0);
  }
  const Moving* moving(Location location) const {
    const std::vector<Moving>& list = p_.passes[pass_].moving;
    return &*std::find_if(list.begin(), list.end(),
                          [&](const Moving& m) { return m.location == location; });
  }

  // A port's elements, or the one that the row has.
  std::int32_t load_port(std::size_t port) {
    if (p_.layout.constant[port]) return load_row(port);
    return put_load(place_of_port(port), p_.ports[port].dtype, Micro::load, loop());
  }
  // A port's value of the row.
  std::int32_t load_row(std::size_t port) {
    const Dtype dtype = p_.ports[port].dtype;
    const std::uint32_t place = place_of_port(port);
    if (!is_half(dtype)) return put_load(place, dtype, Micro::row);
    return machine::record_widening(trace_, dtype, put_load(place, uint16, Micro::row));
  }

  bool takes_pass(std::size_t k) {
    const Pass& pass = p_.passes[k];
    pass_ = static_cast<std::uint16_t>(k);
    // Values of elements are of their loop; those of rows, and what they are expanded to, stay.
    for (Location v = 0; v < held_.size(); ++v)
      if (v >= 2 * p_.values || !is_small_[v % p_.values]) held_[v] = {};
    for (const Moving& m : pass.moving) at(m.location).moves = true;
    for (const Call& call : pass.row_calls)
      if (!one_pass_ && !records(call)) return false;
    for (const SmallValue& v : pass.expanded) {
      if (!machine::is_recorded(v.dtype)) return false;
      at(p_.values + v.id).value = read(v.id, tile_dtype(v.dtype));
    }
    for (const Call& call : pass.calls)
      if (!takes(call)) return false;
    for (const Reduction& r : pass.reductions)
      if (!takes(r)) return false;
    return true;
  }
  bool takes(const Call& call) {
    if (call.kind < Call::Kind::load) return records(call);
    const Dtype dtype = p_.ports[call.a].dtype;
    if (!machine::is_recorded(dtype)) return false;
    if (call.kind == Call::Kind::load)
      write(call.out, load_port(call.a), tile_dtype(dtype));
    else
      put_store(place_of_port(call.a), dtype, read(call.out, tile_dtype(dtype)), Micro::store,
                loop(), streams_);
    return true;
  }

  bool takes(const Reduction& r) {
    if (!machine::is_recorded(r.dtype) || !machine::is_recorded(r.from)) return false;
    std::int32_t value = at(r.in).value == kNoValue ? load(r.in, r.from) : at(r.in).value;
    if (r.squares) value = trace_.put(Micro::multiply, value, value);
    if (r.dtype == bool_)
      value = trace_.put(Micro::select, value, trace_.constant(1), trace_.constant(0));
    Step step{Micro::reduce};
    step.in[0] = value;
    step.loop = loop();
    std::tie(step.combine, step.bits) = combination(r);
    std::int32_t result = trace_.put(step);
    if (r.dtype == bool_) result = trace_.put(Micro::int_not_equal, result, trace_.constant(0));
    if (is_integer(r.dtype)) result = machine::record_cast(trace_, int32, r.dtype, result);
    if (r.round && !one_pass_) {
      const Dtype half = value_of(r.out).dtype;
      const Micro op = half == float16 ? Micro::round_float16 : Micro::round_bfloat16;
      result = trace_.put(op, result);
    }
    at(r.out).value = result;
    return true;
  }
  const SmallValue& value_of(ValueId id) const {
    return *std::find_if(p_.small.begin(), p_.small.end(),
                         [&](const SmallValue& v) { return v.id == id; });
  }
  std::uint16_t pass_ = 0;
  bool one_pass_ = false;
  std::vector<bool> is_small_;  // by value
  std::vector<RowCode::Place> places_, scalars_;
};

}  // namespace

std::shared_ptr<const RowCode> compile_rows(const Lowered& program, bool streams) {
  return RowCompiler(program, streams).run();
}
std::shared_ptr<const RowCode> compile_pass(const Lowered& program, std::size_t pass,
                                            bool streams) {
  return RowCompiler(program, streams).run_pass(pass);
}

void run_rows(const Lowered& p, const Binding& b) {
  const RowCode& code = *p.rows;
  const auto outer = p.reduced ? static_cast<std::size_t>(p.layout.outer) : b.domain.size();
  Shape rows(b.domain.begin(), b.domain.begin() + static_cast<std::ptrdiff_t>(outer));
  std::int64_t count = 1, n = 1;
  for (std::size_t i = outer; i < outer + static_cast<std::size_t>(p.reduced); ++i)
    n *= b.domain[i];
  // Bytes from row to row, over axes that all ports can merge; where nothing is reduced, the last
  // of these is the row.
  SmallVector<Strides, 8> steps;
  SmallVector<std::byte*, 8> first;
  for (std::size_t k = 0; k < code.scalars; ++k) {
    const RowCode::Place& place = code.places[k];
    Strides s(rows.size(), 0);
    std::byte* data = nullptr;
    if (place.kind == Kind::port) {
      const BoundPort& port =
          place.index < p.inputs ? b.inputs[place.index] : b.outputs[place.index - p.inputs];
      const auto size = static_cast<std::int64_t>(size_of(p.ports[place.index].dtype));
      for (std::size_t i = 0; i < rows.size(); ++i) s[i] = port.strides[i] * size;
      data = port.data;
    }
    steps.push_back(s);
    first.push_back(data);
  }
  merge_axes(rows, {steps.data(), steps.size()});
  if (!p.reduced) {
    n = rows.back();
    rows.pop_back();
    for (Strides& s : steps) s.pop_back();
  }
  for (const std::int64_t d : rows) count *= d;
  const std::int64_t run = rows.empty() ? 1 : rows.back();

  SmallVector<float, 8> halves(code.places.size() - code.scalars);
  SmallVector<std::byte*, 8> scalars;
  for (std::size_t k = code.scalars; k < code.places.size(); ++k) {
    const SmallValue& v = p.small[code.places[k].index];
    const std::byte* data = v.from == Value::From::constant
                                ? reinterpret_cast<const std::byte*>(&b.constants[v.index])
                                : b.inputs[v.index].data;
    if (is_half(v.dtype)) {
      float& wide = halves[k - code.scalars];
      loops().widen[static_cast<int>(v.dtype)](&wide, data, nullptr, nullptr, 1);
      data = reinterpret_cast<const std::byte*>(&wide);
    }
    scalars.push_back(const_cast<std::byte*>(data));
  }

  const std::int64_t scratch = p.slots ? (n * 4 + 63) / 64 * 64 : 0;
  const std::int64_t cost = code.code->cost() + 1;
  const std::int64_t grain =
      std::max<std::int64_t>(1, kWork / std::max<std::int64_t>(1, n * cost / 2));
  const std::int64_t most =
      std::max<std::int64_t>(1, kElementsOfCall / std::max<std::int64_t>(1, n));
  parallel_for(count, grain, [&](std::int64_t begin, std::int64_t end) {
    const Workspace<std::byte> memory(scratch * p.slots);
    SmallVector<std::byte*, 32> table(2 * code.places.size(), nullptr);
    for (std::int64_t row = begin, some; row < end; row += some) {
      some = std::min({end - row, run - row % run, most});
      for (std::size_t k = 0; k < code.scalars; ++k) {
        std::byte* at = first[k];
        if (code.places[k].kind == Kind::scratch)
          at = memory.get() + code.places[k].index * scratch;
        std::int64_t rest = row;
        for (std::size_t i = rows.size(); i-- > 0; rest /= rows[i])
          at += rest % rows[i] * steps[k][i];
        table[k] = at;
        const std::int64_t step = rows.empty() ? 0 : steps[k].back();
        table[code.places.size() + k] = reinterpret_cast<std::byte*>(step);
      }
      std::copy(scalars.begin(), scalars.end(), table.begin() + code.scalars);
      poll_interrupt();
      code.code->run_rows(table.data(), n, some);
    }
  });
}

}  // namespace cermet::cpu
