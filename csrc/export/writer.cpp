// Writing functions: their graphs, without what their outputs do not need, and their constants.
#include <algorithm>
#include <cstring>
#include <unordered_map>

#include "cermet/eval.h"
#include "cermet/ops.h"
#include "export/format.h"
#include "export/primitives.h"
#include "graph/check.h"
#include "graph/layout.h"
#include "io/stored.h"
#include "transforms/custom.h"
#include "transforms/recording.h"

namespace cermet {
namespace {

using namespace exported;
constexpr std::string_view kExport = "export_function";

Results results_of(std::span<const array> arrays) {
  Results results;
  for (const array& a : arrays) results.push_back({a.shape(), a.dtype()});
  return results;
}

// The inputs of a step that a file has: of a custom function those it is called with.
std::span<const Recording::Slot> reads(const Recording& r, const Recording::Step& step) {
  const auto all = r.operands_of(step);
  const auto custom = parts_of_custom(*step.node.primitive());
  return custom ? all.first(custom->primals) : all;
}

// The steps that outputs need, and the slot that each value has then.
struct Needed {
  std::vector<const Recording::Step*> steps;
  std::vector<std::uint32_t> slots;

  explicit Needed(const Recording& r) {
    const std::size_t first = r.before_steps();
    std::vector<bool> needed(first + r.steps.size());
    for (const auto slot : r.outputs) needed[slot] = true;
    for (std::size_t i = r.steps.size(); i-- > 0;)
      if (needed[first + i])
        for (const auto slot : reads(r, r.steps[i])) needed[slot] = true;
    for (std::uint32_t i = 0; i < first; ++i) slots.push_back(i);
    for (std::size_t i = 0; i < r.steps.size(); ++i) {
      slots.push_back(static_cast<std::uint32_t>(first + steps.size()));
      if (needed[first + i]) steps.push_back(&r.steps[i]);
    }
  }
};

const Entry& entry_for(const Primitive& p) {
  if (const Entry* entry = entry_of(p)) return *entry;
  throw std::invalid_argument(std::string(kExport) + ": " + std::string(p.name()) +
                              " cannot be exported, as it is no operation of this library alone");
}

// Records the function for such inputs; without shapes where it does not ask for them.
Recording recorded_for_export(const Function& fun, const Results& inputs, bool shapeless) {
  if (shapeless) {
    Recording r = recorded(kExport, fun, inputs, true);
    const auto has_form = [](const Recording::Step& step) {
      return entry_of(*step.node.primitive()) != nullptr;
    };
    if (!r.tied && std::all_of(r.steps.begin(), r.steps.end(), has_form)) return r;
  }
  return recorded(kExport, fun, inputs, false);
}

// ---- Constants ----

// All that functions of a file have, once each.
class Constants {
 public:
  std::uint32_t number(const array& a) {
    const auto [at, added] = numbers_.emplace(a.node(), static_cast<std::uint32_t>(arrays_.size()));
    if (added) arrays_.push_back(a);
    return at->second;
  }
  // Computes those that came since the last time.
  void evaluate() {
    cermet::eval({arrays_.begin() + static_cast<std::ptrdiff_t>(evaluated_), arrays_.end()});
    evaluated_ = arrays_.size();
  }
  void describe(Bytes& out) const {
    out.count(arrays_.size());
    std::uint64_t end = 0;
    for (const array& a : arrays_) {
      put(out, a.dtype());
      put(out, a.shape());
      const Held held = held_of(a);
      out.small(static_cast<int>(held));
      if (held == Held::stored) {
        out.bits(aligned(end));
        end = aligned(end) + a.nbytes();
      } else {
        out.bits(first_bits(a));
      }
    }
  }
  void write(const Sink& out) const {
    std::uint64_t end = 0;
    for (const array& a : arrays_) {
      if (held_of(a) != Held::stored) continue;
      static constexpr std::byte zeros[kAlignment]{};
      out(std::span(zeros).first(aligned(end) - end));
      const array rows = contiguous(a);
      rows.eval();
      out(io::bytes_of(rows));
      end = aligned(end) + a.nbytes();
    }
  }

 private:
  static Held held_of(const array& a) {
    if (a.node()->constant) return Held::scalar;
    const auto& strides = a.strides();
    const bool same = std::all_of(strides.begin(), strides.end(), [](auto n) { return n == 0; });
    return same && a.size() > 1 ? Held::filled : Held::stored;
  }
  static std::uint64_t first_bits(const array& a) {
    if (a.node()->constant) return a.node()->scalar;
    std::uint64_t bits = 0;
    std::memcpy(&bits, a.raw_data(), a.itemsize());
    return bits;
  }

  std::unordered_map<const Node*, std::uint32_t> numbers_;
  Arrays arrays_;
  std::size_t evaluated_ = 0;
};

// ---- Graphs ----

void put_stream(Bytes& out, Stream stream) {
  const bool usual = stream == default_stream(default_device());
  out.small(static_cast<int>(usual                                   ? On::usual
                             : stream.device.type == DeviceType::cpu ? On::cpu
                                                                     : On::gpu));
}

void put_graph(Bytes& out, const Recording& r, Constants& constants);

// A function that a rule is: its own inputs, then its graph.
void put_rule(Bytes& out, const Function& rule, const Results& inputs, Constants& constants) {
  put(out, inputs);
  put_graph(out, recorded(kExport, rule, inputs, false), constants);
}

// A function with rules of its own: the function, and the rules there are.
void put_custom(Bytes& out, const CustomParts& custom, std::span<const array> inputs,
                Constants& constants) {
  const std::size_t n = custom.primals;
  const Results primals = results_of(inputs.first(n)), outputs = results_of(inputs.subspan(n));
  const auto joined = [](std::initializer_list<const Results*> lists) {
    Results all;
    for (const Results* list : lists) all.insert(all.end(), list->begin(), list->end());
    return all;
  };
  const auto part = [](const Arrays& all, std::size_t first, std::size_t count) {
    const auto begin = all.begin() + static_cast<std::ptrdiff_t>(first);
    return Arrays(begin, begin + static_cast<std::ptrdiff_t>(count));
  };
  const std::size_t m = outputs.size();
  put_rule(out, custom.fun, primals, constants);
  out.present(custom.rules.vjp != nullptr);
  if (const auto& rule = custom.rules.vjp)
    put_rule(
        out,
        [&](const Arrays& in) { return rule(part(in, 0, n), part(in, n, m), part(in, n + m, m)); },
        joined({&primals, &outputs, &outputs}), constants);
  out.present(custom.rules.jvp != nullptr);
  if (const auto& rule = custom.rules.jvp)
    put_rule(
        out, [&](const Arrays& in) { return rule(part(in, 0, n), part(in, n, n)); },
        joined({&primals, &primals}), constants);
}

void put_step(Bytes& out, const Recording& r, const Recording::Step& step, const Needed& needed,
              Constants& constants) {
  const array& node = step.node;
  const Primitive& p = *node.primitive();
  const auto custom = parts_of_custom(p);
  const bool picks = p.kind() == Kind::pick;
  const Entry* entry = custom || picks ? nullptr : &entry_for(p);
  out.text(custom ? kCustom : picks ? kPick : entry->name);
  const auto from = reads(r, step);
  out.count(from.size());
  for (const auto slot : from) out.count(needed.slots[slot]);
  put(out, node.dtype());
  put(out, node.shape());
  put_stream(out, node.stream());
  if (custom)
    put_custom(out, *custom, {node.inputs().data(), node.inputs().size()}, constants);
  else if (picks)
    out.integer(static_cast<const Pick&>(p).index);
  else
    entry->write(out, p);
}

void put_graph(Bytes& out, const Recording& r, Constants& constants) {
  const Needed needed(r);
  out.count(r.constants.size());
  for (const array& c : r.constants) out.count(constants.number(c));
  out.count(needed.steps.size());
  for (const Recording::Step* step : needed.steps) put_step(out, r, *step, needed, constants);
  out.count(r.outputs.size());
  for (const auto slot : r.outputs) out.count(needed.slots[slot]);
}

// The inputs of a call as one list: those by name behind the others.
Arrays all_inputs(const Arrays& args, const ArrayMap& kwargs) {
  Arrays all = args;
  for (const auto& [name, a] : kwargs) all.push_back(a);
  return all;
}

Recording record_call(const NamedFunction& fun, const Arrays& args, const ArrayMap& kwargs,
                      bool shapeless) {
  const Function flat = [&](const Arrays& in) {
    const auto n = static_cast<std::ptrdiff_t>(args.size());
    ArrayMap named;
    auto next = in.begin() + n;
    for (const auto& [name, a] : kwargs) named.emplace(name, *next++);
    return fun({in.begin(), in.begin() + n}, named);
  };
  return recorded_for_export(flat, results_of(all_inputs(args, kwargs)), shapeless);
}

}  // namespace

class FunctionExporter::Exporter {
 public:
  Exporter(std::string file, NamedFunction fun, bool shapeless, std::string metadata)
      : file_(std::move(file)),
        fun_(std::move(fun)),
        shapeless_(shapeless),
        metadata_(std::move(metadata)) {}

  void add(const Arrays& args, const ArrayMap& kwargs) {
    check_open();
    Signature signature{shapeless_, args.size(), {}, results_of(all_inputs(args, kwargs))};
    for (const auto& [name, a] : kwargs) signature.names.push_back(name);
    for (const Signature& s : known_)
      if (s.is_like(signature))
        throw std::runtime_error(std::string(kExport) +
                                 ": there is a function of such inputs already:\n" + s.text());
    const Recording r = record_call(fun_, args, kwargs, shapeless_);
    check_open();  // by the function
    signature.shapeless = shapeless_ && !r.tied;
    Bytes function;
    signature.write(function);
    put_graph(function, r, constants_);
    constants_.evaluate();
    functions_ += function.bytes();
    signature.shapeless = shapeless_;  // as what was asked for, calls are told apart
    known_.push_back(std::move(signature));
  }

  void close() {
    if (closed_) return;
    Bytes description;
    description.text(metadata_);
    constants_.describe(description);
    description.count(known_.size());
    const std::uint64_t length = description.bytes().size() + functions_.size();
    Bytes header;
    for (const char c : kMagic) header.small(c);
    header.count(kVersion);
    header.count(0);
    header.bits(length);
    header.bits(aligned(kHeader + length));
    replace_file(kExport.data(), file_, [&](const Sink& out) {
      out(io::bytes_of(header.bytes()));
      out(io::bytes_of(description.bytes()));
      out(io::bytes_of(functions_));
      out(io::bytes_of(std::string(aligned(kHeader + length) - kHeader - length, '\0')));
      constants_.write(out);
    });
    closed_ = true;
  }

 private:
  void check_open() const {
    if (closed_) throw std::runtime_error(std::string(kExport) + ": " + file_ + " is closed");
  }

  const std::string file_;
  const NamedFunction fun_;
  const bool shapeless_;
  const std::string metadata_;
  bool closed_ = false;
  std::vector<Signature> known_;
  Constants constants_;
  std::string functions_;  // their descriptions
};

FunctionExporter::FunctionExporter(std::string file, NamedFunction fun, bool shapeless,
                                   std::string metadata)
    : exporter_(std::make_unique<Exporter>(std::move(file), std::move(fun), shapeless,
                                           std::move(metadata))) {}
FunctionExporter::~FunctionExporter() = default;
FunctionExporter::FunctionExporter(FunctionExporter&&) noexcept = default;
FunctionExporter& FunctionExporter::operator=(FunctionExporter&&) noexcept = default;
void FunctionExporter::operator()(const Arrays& args, const ArrayMap& kwargs) {
  exporter_->add(args, kwargs);
}
void FunctionExporter::close() { exporter_->close(); }

void export_function(const std::string& file, const NamedFunction& fun, const Arrays& args,
                     const ArrayMap& kwargs, bool shapeless, const std::string& metadata) {
  FunctionExporter exporter(file, fun, shapeless, metadata);
  exporter(args, kwargs);
  exporter.close();
}

// ---- To look at ----

ExportedGraph describe_export(const NamedFunction& fun, const Arrays& args, const ArrayMap& kwargs,
                              bool shapeless) {
  const Recording r = record_call(fun, args, kwargs, shapeless);
  const Needed needed(r);
  const std::size_t first = r.before_steps();
  std::vector<ExportedArray> values;
  const auto add = [&](const Shape& shape, Dtype dtype) {
    values.push_back({made_up_name(values.size()), shape, dtype});
  };
  for (const Result& in : r.inputs) add(in.shape, in.dtype);
  for (const array& c : r.constants) add(c.shape(), c.dtype());
  for (const Recording::Step* step : needed.steps) add(step->node.shape(), step->node.dtype());

  ExportedGraph graph;
  graph.inputs.assign(values.begin(),
                      values.begin() + static_cast<std::ptrdiff_t>(r.inputs.size()));
  std::size_t next = args.size();
  for (const auto& [name, a] : kwargs) graph.keywords.emplace_back(name, values[next++].name);
  for (const array& c : r.constants) graph.constants.emplace_back(values[next++].name, c);
  for (const auto slot : r.outputs) graph.outputs.push_back(values[needed.slots[slot]]);
  for (std::size_t i = 0; i < needed.steps.size(); ++i) {
    const Recording::Step& step = *needed.steps[i];
    const Primitive& p = *step.node.primitive();
    ExportedPrimitive made{std::string(p.name()), {}, {}, {values[first + i]}};
    if (p.kind() == Kind::pick)
      made.arguments.emplace_back(std::int64_t{static_cast<const Pick&>(p).index});
    else if (!parts_of_custom(p))
      made.arguments = entry_for(p).describe(p);
    for (const auto slot : reads(r, step)) made.inputs.push_back(values[needed.slots[slot]]);
    graph.primitives.push_back(std::move(made));
  }
  return graph;
}

}  // namespace cermet
