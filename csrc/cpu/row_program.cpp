// The tile interpreter.
//
// A program's domain is cut into tiles of up to kTile elements that are adjacent in the order
// (outer, reduced, inner). Instructions are calls of contiguous loops on tiles; a tile is a
// register, the memory of a contiguous input or output itself, or scratch memory that keeps a value
// from one pass over a row for the next.
//
// Three geometries cover all programs:
//   flat     nothing is reduced: tiles in any order.
//   lanes    a unit is one outer index and up to kTile inner elements (one, when the last axis is
//            reduced). A tile holds as many reduced steps as fit. A reduction adds tiles up, in
//            chunks of kChunk tiles, then folds halves onto halves.
//   rows     several short rows (up to half a tile) share a tile; each reduces in one loop.
// The order of a reduction's additions follows from the domain's shape alone, so the result has the
// same bits for any fusion and number of threads.
#include "cpu/row_program.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>

#include "cermet/eval.h"
#include "cpu/floating_mode.h"
#include "cpu/loops.h"
#include "cpu/parallel.h"

namespace cermet::cpu {
namespace {

constexpr std::int64_t kTile = 512;
constexpr std::int64_t kChunk = 64;               // tiles
constexpr std::int64_t kMaxScratch = 64 * 1024;   // elements of a unit kept between passes
constexpr std::int64_t kMinParallel = 16 * 1024;  // elements a thread should get, at least
constexpr std::size_t kRegister = kTile * 8;      // bytes: the largest element has 8

using Location = std::uint32_t;  // an index into a context's table of tile pointers

// The type a value has in a tile.
Dtype tile_dtype(Dtype t) { return is_half(t) ? float32 : t; }

// Elements at strides over some axes, adjacent axes merged.
struct Layout {
  Shape extents;
  Strides strides;
  bool linear = true;  // one run of adjacent elements

  Layout() = default;
  Layout(const std::int64_t* domain, const std::int64_t* step, int axes) {
    for (int i = 0; i < axes; ++i) {
      if (domain[i] == 1) continue;
      if (!extents.empty() && strides.back() == step[i] * domain[i]) {
        extents.back() *= domain[i];
        strides.back() = step[i];
      } else {
        extents.push_back(domain[i]);
        strides.push_back(step[i]);
      }
    }
    linear = extents.empty() || (extents.size() == 1 && strides[0] == 1);
  }

  // Calls visit(offset, stride, count) for each run of the elements [first, first + n).
  template <class F>
  void runs(std::int64_t first, std::int64_t n, F visit) const {
    if (extents.empty()) return visit(std::int64_t{0}, std::int64_t{1}, n);
    const int last = static_cast<int>(extents.size()) - 1;
    Shape index(extents.size());
    std::int64_t offset = 0;
    for (int i = last; i >= 0; --i) {
      index[i] = first % extents[i];
      first /= extents[i];
      offset += index[i] * strides[i];
    }
    while (n > 0) {
      const std::int64_t count = std::min(n, extents[last] - index[last]);
      visit(offset, strides[last], count);
      n -= count;
      offset += count * strides[last];
      index[last] += count;
      for (int i = last; i > 0 && index[i] == extents[i]; --i) {
        offset += strides[i - 1] - extents[i] * strides[i];
        index[i] = 0;
        ++index[i - 1];
      }
    }
  }
};

template <class T>
void gather_run(std::byte* out, const std::byte* in, std::int64_t stride, std::int64_t n) {
  auto* y = reinterpret_cast<T*>(out);
  const auto* x = reinterpret_cast<const T*>(in);
  if (stride == 0)
    std::fill_n(y, n, *x);
  else
    for (std::int64_t i = 0; i < n; ++i) y[i] = x[i * stride];
}
template <class T>
void scatter_run(std::byte* out, const std::byte* in, std::int64_t stride, std::int64_t n) {
  auto* y = reinterpret_cast<T*>(out);
  const auto* x = reinterpret_cast<const T*>(in);
  for (std::int64_t i = 0; i < n; ++i) y[i * stride] = x[i];
}
// Calls f with an unsigned type of the given size.
template <class F>
void by_size(std::size_t size, F f) {
  switch (size) {
    case 1: return f(std::uint8_t{});
    case 2: return f(std::uint16_t{});
    case 4: return f(std::uint32_t{});
    default: return f(std::uint64_t{});
  }
}

void load(const Layout& layout, const std::byte* base, std::size_t size, std::int64_t first,
          std::int64_t n, std::byte* out) {
  layout.runs(first, n, [&](std::int64_t offset, std::int64_t stride, std::int64_t count) {
    const std::byte* in = base + offset * static_cast<std::int64_t>(size);
    if (stride == 1)
      std::memcpy(out, in, count * size);
    else
      by_size(size, [&](auto t) { gather_run<decltype(t)>(out, in, stride, count); });
    out += count * size;
  });
}

void store(const Layout& layout, std::byte* base, std::size_t size, std::int64_t first,
           std::int64_t n, const std::byte* in) {
  layout.runs(first, n, [&](std::int64_t offset, std::int64_t stride, std::int64_t count) {
    std::byte* out = base + offset * static_cast<std::int64_t>(size);
    if (stride == 1)
      std::memcpy(out, in, count * size);
    else
      by_size(size, [&](auto t) { scatter_run<decltype(t)>(out, in, stride, count); });
    in += count * size;
  });
}

// n copies of one element.
void splat(std::byte* out, const std::byte* in, std::size_t size, std::int64_t n) {
  by_size(size, [&](auto t) { gather_run<decltype(t)>(out, in, 0, n); });
}

// ---- Lowering
// -------------------------------------------------------------------------------------

enum class Geometry : std::uint8_t { flat, lanes, rows };

// An input or output in memory.
struct Port {
  ValueId value;
  std::byte* base;
  Dtype dtype;
  Extent extent;
  Layout layout;  // over the domain, or over the row's axes
};

// One action on a tile: a loop, or the load or store of a port.
struct Call {
  enum class Kind : std::uint8_t { loop, load, store } kind = Kind::loop;
  Loop loop = nullptr;
  Location out = 0, a = 0, b = 0, c = 0;  // of a port: `a` is its index, `out` the value's location
};

// A tile pointer that moves with the tile: into memory, or into scratch.
struct Moving {
  Location location;
  std::byte* base;  // null: scratch memory at `offset`
  std::int64_t offset;
  std::size_t size;
};

struct Reduction {
  Op combine;
  Dtype dtype;  // in tiles
  Location in;
  ValueId out;
  Loop loop;
  RowLoop rows;
  Loop round;  // for a 16-bit result
};

struct Pass {
  std::vector<Call> row_calls;    // before the tiles: on values a row
  std::vector<ValueId> expanded;  // row values that the tiles' calls read
  std::vector<Moving> moving;
  std::vector<Call> calls;
  std::vector<Reduction> reductions;
};

// The memory of one thread at work on a program.
struct Context {
  std::vector<std::byte*> table;
  std::byte* registers;
  std::byte* scratch;
};

class Runner {
 public:
  Runner(const Program& program, const std::vector<bool>& donatable)
      : p_(program), loops_(loops()), values_(static_cast<Location>(program.values.size())) {
    O_ = p_.outer_size();
    N_ = p_.reduced_size();
    C_ = p_.inner_size();
    if (p_.reduced == 0) {
      geometry_ = Geometry::flat;
    } else if (C_ == 1 && N_ <= kTile / 2) {
      geometry_ = Geometry::rows;
      rows_ = kTile / N_;
    } else {
      geometry_ = Geometry::lanes;
      const std::int64_t pieces = (C_ + kTile - 1) / kTile;
      width_ = pieces == 1 ? C_ : std::min(kTile, ((C_ + pieces - 1) / pieces + 15) / 16 * 16);
      steps_ = pieces == 1 ? kTile / width_ : 1;
    }
    lower(donatable);
  }

  void run() {
    if (p_.size() == 0) return;
    std::optional<Uninterrupted> guard;
    if (!taken_.empty()) guard.emplace();
    switch (geometry_) {
      case Geometry::flat: return run_flat();
      case Geometry::rows: return run_units((O_ + rows_ - 1) / rows_, rows_ * N_);
      case Geometry::lanes: {
        const std::int64_t units = O_ * ((C_ + width_ - 1) / width_);
        const std::int64_t unit = N_ * width_;
        if (units < 2 * get_num_threads() && scratch_elements_ > kMaxScratch &&
            get_num_threads() > 1)
          for (std::int64_t u = 0; u < units; ++u) run_together(u);
        else
          run_units(units, unit);
      }
    }
  }

 private:
  // ---- From instructions to calls ----

  const Value& value(ValueId id) const { return p_.values[id]; }
  bool is_full(ValueId id) const { return value(id).extent == Extent::full; }
  // Where a full instruction finds an operand: a value of less than full extent is expanded.
  Location operand(ValueId id) const { return value(id).extent == Extent::row ? values_ + id : id; }

  // Over the domain for full extent, over outer and inner axes for a row's.
  Layout layout_of(const Strides& strides, Extent extent) const {
    if (extent != Extent::row)
      return Layout(p_.domain.data(), strides.data(), static_cast<int>(p_.domain.size()));
    Shape domain;
    Strides kept;
    for (int i = 0; i < static_cast<int>(p_.domain.size()); ++i)
      if (i < p_.outer || i >= p_.outer + p_.reduced) {
        domain.push_back(p_.domain[i]);
        kept.push_back(strides[i]);
      }
    return Layout(domain.data(), kept.data(), static_cast<int>(domain.size()));
  }

  void lower(const std::vector<bool>& donatable) {
    for (std::size_t i = 0; i < p_.values.size(); ++i)
      if (p_.values[i].from == Value::From::input) add_input(static_cast<ValueId>(i));
    find_last_uses();
    for (const ProgramOutput& out : p_.outputs) add_output(out, donatable);
    if (geometry_ == Geometry::lanes) scratch_elements_ = (N_ + steps_ - 1) / steps_ * kTile;
    const bool keep = scratch_elements_ <= kMaxScratch;
    passes_.resize(p_.phases);
    saved_.assign(p_.values.size(), -1);
    for (int pass = p_.phases - 1; pass >= 0; --pass) lower_pass(pass, keep);
  }

  void add_input(ValueId id) {
    const ProgramInput& in = p_.inputs[value(id).index];
    const Node& n = *in.source.node();
    Strides strides(p_.domain.size());
    int k = 0;
    for (std::size_t d = 0; d < n.shape.size(); ++d)
      if (n.shape[d] != 1) strides[in.axes[k++]] = n.strides[d];
    Port port{id,
              static_cast<std::byte*>(n.buffer->data()) +
                  n.offset * static_cast<std::int64_t>(size_of(n.dtype)),
              n.dtype,
              in.extent,
              {}};
    if (in.extent != Extent::scalar) port.layout = layout_of(strides, in.extent);
    port_of_.resize(p_.values.size(), -1);
    port_of_[id] = static_cast<int>(ports_.size());
    ports_.push_back(std::move(port));
  }

  // For each full input, the last instruction that reads it; kNever where a later pass may.
  void find_last_uses() {
    last_use_.assign(p_.values.size(), 0);
    for (std::size_t k = 0; k < p_.instructions.size(); ++k)
      for (ValueId in : p_.instructions[k].in)
        if (in != kNoValue) last_use_[in] = k;
  }

  // Outputs take over the buffer of an input that nothing reads after the output's instruction.
  bool donate(const ProgramOutput& out, const std::vector<bool>& donatable, Node& node) {
    const Value& v = value(out.value);
    if (p_.phases != 1 || v.extent != Extent::full) return false;
    for (const Port& port : ports_) {
      if (port.value >= p_.values.size() || value(port.value).from != Value::From::input) continue;
      const std::size_t index = value(port.value).index;
      const ProgramInput& in = p_.inputs[index];
      const Node& n = *in.source.node();
      if (!donatable[index] || taken(index) || port.extent != Extent::full ||
          size_of(n.dtype) != size_of(node.dtype) || n.size != node.size ||
          n.strides != row_major(n.shape) || !port.layout.linear || last_use_[port.value] > v.index)
        continue;
      taken_.push_back(index);
      node.buffer = n.buffer;
      node.offset = n.offset;
      return true;
    }
    return false;
  }
  bool taken(std::size_t index) const {
    return std::find(taken_.begin(), taken_.end(), index) != taken_.end();
  }

  void add_output(const ProgramOutput& out, const std::vector<bool>& donatable) {
    Node& first = *out.nodes[0];
    if (!donate(out, donatable, first)) {
      first.buffer = allocate(static_cast<std::size_t>(first.size) * size_of(first.dtype));
      first.offset = 0;
    }
    for (Node* n : out.nodes) {
      n->buffer = first.buffer;
      n->offset = first.offset;
      n->strides = row_major(n->shape);
    }
    const Extent extent = value(out.value).extent;
    outputs_.push_back(static_cast<int>(ports_.size()));
    output_of_.resize(p_.values.size(), -1);
    output_of_[out.value] = static_cast<int>(ports_.size());
    ports_.push_back({out.value,
                      static_cast<std::byte*>(first.buffer->data()) +
                          first.offset * static_cast<std::int64_t>(size_of(first.dtype)),
                      first.dtype, extent, layout_of(out.strides, extent)});
  }

  int output_of(ValueId id) const { return id < output_of_.size() ? output_of_[id] : -1; }
  // A tile of the port is its memory itself.
  static bool is_direct(const Port& port) { return port.layout.linear && !is_half(port.dtype); }

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
    call.out = out;
    call.a = where(ins.in[0]);
    if (ins.in[1] != kNoValue) call.b = where(ins.in[1]);
    if (ins.in[2] != kNoValue) call.c = where(ins.in[2]);
    if (rounds && ins.op == Op::cast && tile_dtype(ins.compute) == float32) {
      call.loop = loops_.round[static_cast<int>(result)];
      calls.push_back(call);
      return;
    }
    call.loop = loop_of(ins);
    if (!call.loop)
      throw std::invalid_argument(std::string(info(ins.op).name) + ": " +
                                  std::string(name_of(ins.compute)) + " is not supported");
    calls.push_back(call);
    if (rounds) {
      Call round;
      round.loop = loops_.round[static_cast<int>(result)];
      round.out = round.a = out;
      calls.push_back(round);
    }
  }

  // The instructions of one pass over a unit's tiles, with registers for their values.
  void lower_pass(int pass, bool keep) {
    Pass& out = passes_[pass];
    for (const Instruction& ins : p_.instructions)
      if (!ins.is_reduce && value(ins.out).extent == Extent::row && ins.phase == pass)
        emit(out.row_calls, ins, ins.out, [](ValueId v) { return v; });

    // What the pass must compute, backwards from reductions, outputs and what later passes read.
    std::vector<char> needed(p_.values.size());
    const auto need = [&](ValueId v) {
      if (!is_full(v) || needed[v]) return;
      const Value& x = value(v);
      if (keep && x.from == Value::From::instruction && p_.instructions[x.index].phase < pass) {
        save(v);
        return;
      }
      needed[v] = 1;
    };
    for (const Instruction& ins : p_.instructions)
      if (ins.is_reduce && ins.phase == pass + 1) need(ins.in[0]);
    for (int o : outputs_) {
      const ValueId v = ports_[o].value;
      if (is_full(v) && p_.instructions[value(v).index].phase == pass) needed[v] = 1;
    }
    for (ValueId v = 0; v < p_.values.size(); ++v)
      if (saved_[v] >= 0 && p_.instructions[value(v).index].phase == pass) needed[v] = 1;
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
      if (free_registers.empty()) free_registers.push_back(2 * values_ + registers_++);
      home[v] = free_registers.back();
      free_registers.pop_back();
      in_register[v] = 1;
    };
    const auto read = [&](ValueId v) -> Location {
      if (!is_full(v)) {
        if (value(v).extent == Extent::row && !expanded[v]) {
          expanded[v] = 1;
          out.expanded.push_back(v);
        }
        return operand(v);
      }
      if (home[v] != kNone) return home[v];
      if (value(v).from == Value::From::input) {
        const int index = port_of_[v];
        const Port& port = ports_[index];
        if (is_direct(port)) {
          home[v] = v;
          out.moving.push_back({v, port.base, 0, size_of(port.dtype)});
        } else {
          take_register(v);
          Call call;
          call.kind = Call::Kind::load;
          call.out = home[v];
          call.a = static_cast<Location>(index);
          out.calls.push_back(call);
        }
      } else {  // from an earlier pass
        home[v] = v;
        out.moving.push_back(kept(v));
      }
      return home[v];
    };
    const auto release = [&](const Instruction& ins, std::size_t k) {
      for (ValueId in : ins.in)
        if (in != kNoValue && in_register[in] && last[in] == k) {
          in_register[in] = 0;
          free_registers.push_back(home[in]);
        }
    };
    for (std::size_t k = 0; k < order.size(); ++k) {
      const Instruction& ins = *order[k];
      for (ValueId in : ins.in)
        if (in != kNoValue) read(in);
      const int port =
          p_.instructions[value(ins.out).index].phase == pass ? output_of(ins.out) : -1;
      const bool direct = port >= 0 && is_direct(ports_[port]);
      if (direct || (saved_[ins.out] >= 0 && p_.instructions[value(ins.out).index].phase == pass)) {
        home[ins.out] = ins.out;
        out.moving.push_back(kept(ins.out));
      } else {
        take_register(ins.out);
      }
      emit(out.calls, ins, home[ins.out], read);
      if (port >= 0 && !direct) {
        Call call;
        call.kind = Call::Kind::store;
        call.out = home[ins.out];
        call.a = static_cast<Location>(port);
        out.calls.push_back(call);
      }
      release(ins, k);
      if (in_register[ins.out] && last[ins.out] <= k) {  // nothing reads it further
        in_register[ins.out] = 0;
        free_registers.push_back(home[ins.out]);
      }
    }
    for (const Instruction& ins : p_.instructions)
      if (ins.is_reduce && ins.phase == pass + 1) {
        const Op combine = combine_op(ins.reduce);
        const Dtype dtype = tile_dtype(ins.compute), result = value(ins.out).dtype;
        const int t = static_cast<int>(dtype), c = static_cast<int>(combine);
        out.reductions.push_back(
            {combine, dtype, read(ins.in[0]), ins.out, loops_.op[c][t], loops_.reduce_rows[c][t],
             is_half(result) ? loops_.round[static_cast<int>(result)] : nullptr});
      }
    accumulators_ = std::max(accumulators_, out.reductions.size());
  }

  // Gives a value that later passes read a place that outlives the tile.
  void save(ValueId v) {
    const int port = output_of(v);
    if (saved_[v] >= 0) return;
    if (port >= 0 && is_direct(ports_[port])) {
      saved_[v] = 0;
    } else {
      saved_[v] = static_cast<std::int64_t>(scratch_bytes_);
      scratch_bytes_ += static_cast<std::size_t>(scratch_elements_) * 8;
    }
  }
  Moving kept(ValueId v) const {
    const int port = output_of(v);
    const std::size_t size = size_of(tile_dtype(value(v).dtype));
    if (port >= 0 && is_direct(ports_[port])) return {v, ports_[port].base, 0, size};
    return {v, nullptr, saved_[v], size};
  }

  // ---- Contexts ----

  // Lays out a thread's memory. Only what a program uses of it is ever touched.
  Context make_context() const {
    thread_local std::vector<std::byte> memory;
    const std::size_t bytes = context_size();
    if (memory.size() < bytes) memory.resize(bytes);
    Context c;
    auto at = (reinterpret_cast<std::uintptr_t>(memory.data()) + 63) & ~std::uintptr_t{63};
    std::byte* next = reinterpret_cast<std::byte*>(at);
    c.table.resize(2 * values_ + registers_ + 2 * accumulators_);
    for (ValueId v = 0; v < values_; ++v) {
      if (is_full(v)) continue;
      c.table[v] = next;
      next += kRegister;
      if (value(v).extent == Extent::row) {
        c.table[values_ + v] = next;
        next += kRegister;
      }
    }
    for (std::size_t r = 0; r < registers_ + 2 * accumulators_; ++r, next += kRegister)
      c.table[2 * values_ + r] = next;
    c.scratch = next;
    const std::int64_t n = std::min(kTile, geometry_ == Geometry::flat ? p_.size() : kTile);
    for (ValueId v = 0; v < values_; ++v)
      if (value(v).extent == Extent::scalar) fill_scalar(v, c.table[v], n);
    return c;
  }
  std::size_t context_size() const {
    std::size_t tiles = registers_ + 2 * accumulators_;
    for (ValueId v = 0; v < values_; ++v)
      tiles += is_full(v) ? 0 : value(v).extent == Extent::row ? 2 : 1;
    return tiles * kRegister + scratch_bytes_ + 64;
  }

  void fill_scalar(ValueId v, std::byte* out, std::int64_t n) const {
    const Value& x = value(v);
    const std::byte* in = x.from == Value::From::constant
                              ? reinterpret_cast<const std::byte*>(&p_.constants[x.index])
                              : ports_[port_of_[v]].base;
    float wide;
    if (is_half(x.dtype)) {
      loops_.widen[static_cast<int>(x.dtype)](&wide, in, nullptr, nullptr, 1);
      in = reinterpret_cast<const std::byte*>(&wide);
    }
    splat(out, in, size_of(tile_dtype(x.dtype)), n);
  }

  Location accumulator(std::size_t reduction, int which) const {
    return 2 * values_ + registers_ + static_cast<Location>(2 * reduction) + which;
  }

  // ---- Execution ----

  void load_port(const Port& port, std::int64_t first, std::int64_t n, std::byte* out) const {
    const std::size_t size = size_of(port.dtype);
    if (!is_half(port.dtype)) return load(port.layout, port.base, size, first, n, out);
    const Loop widen = loops_.widen[static_cast<int>(port.dtype)];
    if (port.layout.linear)
      return widen(out, port.base + first * static_cast<std::int64_t>(size), nullptr, nullptr, n);
    alignas(64) std::byte narrow[kTile * 2];
    load(port.layout, port.base, size, first, n, narrow);
    widen(out, narrow, nullptr, nullptr, n);
  }
  void store_port(const Port& port, std::int64_t first, std::int64_t n, const std::byte* in) const {
    const std::size_t size = size_of(port.dtype);
    if (!is_half(port.dtype)) return store(port.layout, port.base, size, first, n, in);
    const Loop narrow_loop = loops_.narrow[static_cast<int>(port.dtype)];
    if (port.layout.linear)
      return narrow_loop(port.base + first * static_cast<std::int64_t>(size), in, nullptr, nullptr,
                         n);
    alignas(64) std::byte narrow[kTile * 2];
    narrow_loop(narrow, in, nullptr, nullptr, n);
    store(port.layout, port.base, size, first, n, narrow);
  }

  // Runs a pass's calls on the tile of n elements at `first`, the `local`-th of its unit.
  void run_tile(const Pass& pass, Context& c, std::int64_t first, std::int64_t local,
                std::int64_t n) const {
    std::byte** table = c.table.data();
    for (const Moving& m : pass.moving)
      table[m.location] =
          (m.base ? m.base + first * static_cast<std::int64_t>(m.size)
                  : c.scratch + m.offset + local * kTile * static_cast<std::int64_t>(m.size));
    for (const Call& call : pass.calls) {
      if (call.kind == Call::Kind::loop)
        call.loop(table[call.out], table[call.a], table[call.b], table[call.c], n);
      else if (call.kind == Call::Kind::load)
        load_port(ports_[call.a], first, n, table[call.out]);
      else
        store_port(ports_[call.a], first, n, table[call.out]);
    }
  }

  void run_flat() {
    const Pass& pass = passes_[0];
    const std::int64_t total = p_.size();
    const auto cost = static_cast<std::int64_t>(pass.calls.size() + 1);
    const std::int64_t grain =
        std::clamp(std::int64_t{1 << 18} / cost / kTile * kTile, 2 * kTile, 4 * kMinParallel);
    parallel_for(total, grain, [&](std::int64_t begin, std::int64_t end) {
      Context c = make_context();
      for (std::int64_t i = begin; i < end; i += kTile)
        run_tile(pass, c, i, 0, std::min(kTile, end - i));
    });
  }

  // The rows of a unit: where they are among all rows, and how many.
  struct Unit {
    std::int64_t first_row, rows;
    std::int64_t first, lanes;  // of the first tile: its place in the domain and its elements
    std::int64_t tiles;
  };
  Unit unit(std::int64_t u) const {
    if (geometry_ == Geometry::rows) {
      const std::int64_t r = u * rows_, rows = std::min(rows_, O_ - r);
      return {r, rows, r * N_, rows * N_, 1};
    }
    const std::int64_t pieces = (C_ + width_ - 1) / width_;
    const std::int64_t o = u / pieces, column = u % pieces * width_;
    const std::int64_t width = std::min(width_, C_ - column);
    return {o * C_ + column, width, o * N_ * C_ + column, std::min(steps_, N_) * width,
            (N_ + steps_ - 1) / steps_};
  }
  // The elements of tile t of a unit of the lanes geometry.
  std::int64_t tile_size(const Unit& u, std::int64_t t) const {
    return std::min(steps_, N_ - t * steps_) * u.rows;
  }

  // Values a row that are ready before the pass, and their expansion to tiles.
  void begin_pass(const Pass& pass, int index, Context& c, const Unit& u) const {
    if (index == 0)
      for (const Port& port : ports_)
        if (port.extent == Extent::row && value(port.value).from == Value::From::input)
          load_port(port, u.first_row, u.rows, c.table[port.value]);
    for (const Call& call : pass.row_calls)
      call.loop(c.table[call.out], c.table[call.a], c.table[call.b], c.table[call.c], u.rows);
    for (ValueId v : pass.expanded) {
      const std::size_t size = size_of(tile_dtype(value(v).dtype));
      const std::byte* in = c.table[v];
      std::byte* out = c.table[values_ + v];
      if (geometry_ == Geometry::rows) {
        for (std::int64_t r = 0; r < u.rows; ++r)
          splat(out + r * N_ * size, in + r * size, size, N_);
      } else if (u.rows == 1) {
        splat(out, in, size, u.lanes);
      } else {
        for (std::int64_t i = 0; i < u.lanes; i += u.rows)
          std::memcpy(out + i * size, in, u.rows * size);
      }
    }
  }

  void end_unit(Context& c, const Unit& u) const {
    for (int o : outputs_)
      if (ports_[o].extent == Extent::row)
        store_port(ports_[o], u.first_row, u.rows, c.table[ports_[o].value]);
  }

  // Folds a sum over lanes to one value a row, and rounds it.
  void finish(const Reduction& r, Context& c, std::byte* total, const Unit& u) const {
    const std::size_t size = size_of(r.dtype);
    for (std::int64_t steps = u.lanes / u.rows; steps > 1;) {
      const std::int64_t half = (steps + 1) / 2;
      r.loop(total, total, total + half * u.rows * size, nullptr, (steps - half) * u.rows);
      steps = half;
    }
    std::byte* out = c.table[r.out];
    if (r.round)
      r.round(out, total, nullptr, nullptr, u.rows);
    else
      std::memcpy(out, total, u.rows * size);
  }

  // Sums the tiles [begin, end) of a unit, a chunk, into the accumulators `which`.
  void run_chunk(const Pass& pass, Context& c, const Unit& u, std::int64_t begin, std::int64_t end,
                 int which) const {
    for (std::int64_t t = begin; t < end; ++t) {
      const std::int64_t n = tile_size(u, t);
      run_tile(pass, c, u.first + t * steps_ * C_, t, n);
      for (std::size_t k = 0; k < pass.reductions.size(); ++k) {
        const Reduction& r = pass.reductions[k];
        std::byte* sum = c.table[accumulator(k, which)];
        if (t == begin)
          std::memcpy(sum, c.table[r.in], n * size_of(r.dtype));
        else
          r.loop(sum, sum, c.table[r.in], nullptr, n);
      }
    }
  }

  void run_unit(Context& c, const Unit& u) const {
    for (int index = 0; index < p_.phases; ++index) {
      const Pass& pass = passes_[index];
      begin_pass(pass, index, c, u);
      if (pass.calls.empty() && pass.reductions.empty()) continue;
      if (geometry_ == Geometry::rows) {
        run_tile(pass, c, u.first, 0, u.lanes);
        for (const Reduction& r : pass.reductions) {
          r.rows(c.table[r.out], c.table[r.in], u.rows, N_);
          if (r.round) r.round(c.table[r.out], c.table[r.out], nullptr, nullptr, u.rows);
        }
        continue;
      }
      for (std::int64_t t = 0; t < u.tiles; t += kChunk) {
        run_chunk(pass, c, u, t, std::min(u.tiles, t + kChunk), t == 0 ? 0 : 1);
        if (t == 0) continue;
        for (std::size_t k = 0; k < pass.reductions.size(); ++k)
          add_chunk(pass.reductions[k], c.table[accumulator(k, 0)], c.table[accumulator(k, 1)], u,
                    t);
      }
      for (std::size_t k = 0; k < pass.reductions.size(); ++k)
        finish(pass.reductions[k], c, c.table[accumulator(k, 0)], u);
    }
    end_unit(c, u);
  }
  // Adds the sum of the chunk that begins with tile t.
  void add_chunk(const Reduction& r, std::byte* total, const std::byte* chunk, const Unit& u,
                 std::int64_t t) const {
    r.loop(total, total, chunk, nullptr, tile_size(u, t));
  }

  void run_units(std::int64_t units, std::int64_t elements) {
    std::int64_t cost = 1;
    for (const Pass& pass : passes_) cost += static_cast<std::int64_t>(pass.calls.size());
    const std::int64_t grain = std::max<std::int64_t>(
        1, std::int64_t{1 << 17} / std::max<std::int64_t>(1, elements * cost / 2));
    parallel_for(units, grain, [&](std::int64_t begin, std::int64_t end) {
      Context c = make_context();
      for (std::int64_t i = begin; i < end; ++i) run_unit(c, unit(i));
    });
  }

  // One large unit by all threads: the chunks of each pass in parallel.
  void run_together(std::int64_t index) {
    const Unit u = unit(index);
    Context c = make_context();
    // The calling thread's share of the loops below reuses its memory: move the context out of it.
    std::vector<std::byte> memory(context_size());
    rebase(c, memory);
    const std::int64_t chunks = (u.tiles + kChunk - 1) / kChunk;
    std::vector<std::byte> sums(static_cast<std::size_t>(chunks) * accumulators_ * kRegister);
    const auto sum = [&](std::int64_t chunk, std::size_t k) {
      return sums.data() + (static_cast<std::size_t>(chunk) * accumulators_ + k) * kRegister;
    };
    for (int i = 0; i < p_.phases; ++i) {
      const Pass& pass = passes_[i];
      begin_pass(pass, i, c, u);
      if (pass.calls.empty() && pass.reductions.empty()) continue;
      parallel_for(chunks, 1, [&](std::int64_t begin, std::int64_t end) {
        Context mine = make_context();
        for (ValueId v = 0; v < values_; ++v)  // rows and scalars are shared and only read
          if (!is_full(v)) {
            mine.table[v] = c.table[v];
            mine.table[values_ + v] = c.table[values_ + v];
          }
        for (std::int64_t chunk = begin; chunk < end; ++chunk) {
          for (std::size_t k = 0; k < pass.reductions.size(); ++k)
            mine.table[accumulator(k, 0)] = sum(chunk, k);
          run_chunk(pass, mine, u, chunk * kChunk, std::min(u.tiles, (chunk + 1) * kChunk), 0);
        }
      });
      for (std::size_t k = 0; k < pass.reductions.size(); ++k) {
        for (std::int64_t chunk = 1; chunk < chunks; ++chunk)
          add_chunk(pass.reductions[k], sum(0, k), sum(chunk, k), u, chunk * kChunk);
        finish(pass.reductions[k], c, sum(0, k), u);
      }
    }
    end_unit(c, u);
  }

  void rebase(Context& c, std::vector<std::byte>& memory) const {
    std::byte* next = reinterpret_cast<std::byte*>(
        (reinterpret_cast<std::uintptr_t>(memory.data()) + 63) & ~std::uintptr_t{63});
    for (std::byte*& p : c.table)
      if (p) {
        std::memcpy(next, p, kRegister);
        p = next;
        next += kRegister;
      }
    c.scratch = next;
  }

  static constexpr Location kNone = 0xffffffff;

  const Program& p_;
  const Loops& loops_;
  const Location values_;
  Geometry geometry_;
  std::int64_t O_, N_, C_;
  std::int64_t rows_ = 1;                  // rows: rows a tile
  std::int64_t width_ = 1;                 // lanes: inner elements a unit
  std::int64_t steps_ = 1;                 // lanes: reduced steps a tile
  std::int64_t scratch_elements_ = kTile;  // of a unit's tiles
  std::vector<Port> ports_;
  std::vector<int> outputs_, port_of_, output_of_;
  std::vector<std::size_t> last_use_, taken_;
  std::vector<std::int64_t> saved_;  // a value's place in scratch memory; -1: none
  std::vector<Pass> passes_;
  std::size_t scratch_bytes_ = 0;
  Location registers_ = 0;
  std::size_t accumulators_ = 0;
};

}  // namespace

void run(const Program& program, const std::vector<bool>& donatable) {
  const DefaultFloatingMode mode;
  Runner(program, donatable).run();
}

}  // namespace cermet::cpu
