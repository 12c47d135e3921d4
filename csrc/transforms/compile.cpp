// Tracing a function once; a call is then one node that stands for the trace. Where its graph is
// needed, new nodes are made from the trace's, with no search and no checks.
#include <atomic>
#include <cstdlib>
#include <mutex>
#include <stdexcept>
#include <unordered_map>

#include "cermet/transforms.h"
#include "graph/follow.h"
#include "graph/hash.h"
#include "graph/lru_map.h"
#include "transforms/walk.h"

namespace cermet {

// A flat list of steps. A value is numbered by its slot: inputs first, then constants, then steps.
class Trace : public std::enable_shared_from_this<Trace> {
 public:
  Trace(const TraceFunction& fun, const Arrays& inputs, bool shapeless);
  // Absent when the trace does not tell the shapes for these inputs.
  std::optional<Traced> apply(const Arrays& inputs) const;
  // The results that are computed, made of new nodes.
  std::optional<Arrays> replay(std::span<const array> inputs) const;

  const std::uint64_t id;
  const Arrays& constants() const { return constants_; }

 private:
  using Slot = std::uint32_t;
  struct Step {
    array node;         // of the trace: a new node differs in its inputs (and shape) only
    std::size_t first;  // of operands_; as many as the primitive has inputs
    std::size_t count;
  };
  bool fits(std::span<const array> inputs) const;
  Arrays call(const Arrays& inputs) const;

  std::vector<Shape> shapes_;  // of the inputs it was traced with
  Arrays constants_;
  std::vector<Step> steps_;
  std::vector<Slot> operands_;
  std::vector<Slot> results_;  // the steps that are outputs, once each
  std::vector<Slot> outputs_;  // where they are: inputs, constants, results
  bool tied_ = true;           // holds for inputs of its own shapes only
  std::shared_ptr<const void> extra_;
};

namespace {

bool same_operation(const Node& a, const Node& b) {
  return a.primitive->kind() == b.primitive->kind() && a.dtype == b.dtype && a.shape == b.shape &&
         a.stream == b.stream && a.primitive->equals(*b.primitive);
}

// A call of a trace with inputs of its shapes.
class Call final : public Composite {
 public:
  explicit Call(std::shared_ptr<const Trace> trace) : trace_(std::move(trace)) {}
  std::string_view name() const override { return "compiled"; }
  bool equals(const Primitive& o) const override {
    const auto* other = dynamic_cast<const Call*>(&o);
    return other && trace_ == other->trace_;
  }
  Arrays expand(const Node&, std::span<const array> inputs) const override {
    return trace_->replay(inputs).value();
  }
  std::uint64_t identity() const override { return trace_->id; }
  std::span<const array> captured() const override { return trace_->constants(); }

 private:
  const std::shared_ptr<const Trace> trace_;
};

std::uint64_t next_id() {
  static std::atomic<std::uint64_t> last{0};
  return ++last;
}

bool is_tracer(const Primitive& primitive) {
  return primitive.kind() == Kind::identity &&
         static_cast<const Identity&>(primitive).why == Identity::Why::tracer;
}

}  // namespace

Trace::Trace(const TraceFunction& fun, const Arrays& inputs, bool shapeless) : id(next_id()) {
  const Tracing trace;
  std::optional<Following> following;
  if (shapeless) following.emplace();
  Arrays placeholders;
  for (const array& in : inputs) {
    shapes_.push_back(rule_shape(in));
    placeholders.push_back(make_placeholder(rule_shape(in), in.dtype(), "compile"));
    placeholders.back().node()->followed = shapeless;
  }
  Traced traced = fun(placeholders);
  extra_ = std::move(traced.extra);

  const Walk walk(traced.outputs, placeholders, trace, Walk::Follow::whole);
  // Whatever does not depend on the inputs is a constant of the trace.
  std::unordered_map<const Node*, Slot> constants;
  const auto note_constant = [&](const array& a) {
    if (walk.slot(a)) return;
    const auto slot = static_cast<Slot>(inputs.size() + constants_.size());
    if (constants.emplace(a.node(), slot).second) constants_.push_back(a);
  };
  for (const array& node : walk.nodes())
    for (const array& in : node.inputs()) note_constant(in);
  for (const array& out : traced.outputs) note_constant(out);

  std::vector<Slot> slots(walk.slot_count());
  for (std::size_t i = 0; i < inputs.size(); ++i) slots[i] = static_cast<Slot>(i);
  const auto slot_of = [&](const array& a) {
    const auto at = walk.slot(a);
    return at ? slots[*at] : constants.at(a.node());
  };
  const std::size_t before_steps = inputs.size() + constants_.size();
  std::unordered_multimap<std::size_t, std::size_t> known;  // steps by hash
  bool tied = !following || following->tied();
  for (std::size_t i = 0; i < walk.nodes().size(); ++i) {
    const array& node = walk.nodes()[i];
    const Primitive& primitive = *node.primitive();
    Slot& slot = slots[walk.slot_of_node(i)];
    if (is_tracer(primitive)) {  // of a transform inside, which has ended
      slot = slot_of(node.inputs()[0]);
      continue;
    }
    const bool several = has_several_results(primitive.kind());
    tied = tied || several;  // the shapes of several results are not derived anew
    Step step{node, operands_.size(), node.inputs().size()};
    std::size_t hash = static_cast<std::size_t>(primitive.kind());
    for (const array& in : node.inputs()) {
      operands_.push_back(slot_of(in));
      hash = mix(hash, operands_.back());
    }
    const auto [begin, end] = known.equal_range(hash);
    const auto twin = std::find_if(begin, end, [&](const auto& entry) {
      const Step& other = steps_[entry.second];
      const auto operands = operands_.begin();
      return !several && same_operation(*node.node(), *other.node.node()) &&
             std::equal(operands + step.first, operands_.end(), operands + other.first,
                        operands + other.first + other.count);
    });
    if (twin != end) {
      slot = static_cast<Slot>(before_steps + twin->second);
      operands_.resize(step.first);
      continue;
    }
    slot = static_cast<Slot>(before_steps + steps_.size());
    known.emplace(hash, steps_.size());
    steps_.push_back(std::move(step));
  }
  tied_ = tied;
  for (const array& out : traced.outputs) {
    Slot& slot = outputs_.emplace_back(slot_of(out));
    if (slot < before_steps) continue;
    const auto known = std::find(results_.begin(), results_.end(), slot) - results_.begin();
    if (known == std::ssize(results_)) results_.push_back(slot);
    slot = static_cast<Slot>(before_steps) + static_cast<Slot>(known);
  }
}

bool Trace::fits(std::span<const array> inputs) const {
  return std::equal(inputs.begin(), inputs.end(), shapes_.begin(), shapes_.end(),
                    [](const array& in, const Shape& shape) { return rule_shape(in) == shape; });
}

std::optional<Arrays> Trace::replay(std::span<const array> inputs) const {
  const bool same_shapes = fits(inputs);
  if (tied_ && !same_shapes) return std::nullopt;
  Following asked;  // by rules, which a trace around this one asks again
  Arrays values;
  values.reserve(inputs.size() + constants_.size() + steps_.size());
  values.insert(values.end(), inputs.begin(), inputs.end());
  values.insert(values.end(), constants_.begin(), constants_.end());
  for (const Step& step : steps_) {
    const Node& node = *step.node.node();
    SmallVector<array, 2> from;
    from.reserve(step.count);
    for (std::size_t k = 0; k < step.count; ++k) from.push_back(values[operands_[step.first + k]]);
    const std::span<const array> read(from.data(), from.size());
    try {
      const auto* again =
          same_shapes ? nullptr : dynamic_cast<const Followed*>(node.primitive.get());
      if (again) {
        const StreamContext context(node.stream);
        values.push_back(again->of(read));
        if (values.back().dtype() != node.dtype) return std::nullopt;  // so many that they need it
        continue;
      }
      Shape shape = same_shapes ? node.shape : node.primitive->output_shape(node, read);
      values.emplace_back(node.primitive, std::move(shape), node.dtype, std::move(from),
                          node.stream);
    } catch (const std::logic_error&) {
      return std::nullopt;
    }
  }
  Arrays results;
  for (const Slot slot : results_) results.push_back(values[slot]);
  asked.forgive();
  return results;
}

Arrays Trace::call(const Arrays& inputs) const {
  if (results_.empty()) return {};
  Results results;
  for (const Slot slot : results_) {
    const array& node = steps_[slot - inputs.size() - constants_.size()].node;
    results.push_back({node.shape(), node.dtype()});
  }
  return make_outputs(make_ref<Call>(shared_from_this()), std::move(results),
                      {inputs.begin(), inputs.end()}, default_stream(default_device()));
}

std::optional<Traced> Trace::apply(const Arrays& inputs) const {
  // Within a shapeless trace this one's operations become that one's, or tie it.
  const bool followed = is_followed(inputs);
  if (followed && tied_)
    for (const array& in : inputs) note_extents(*in.node());
  const std::optional<Arrays> computed =
      fits(inputs) && (tied_ || !followed) ? call(inputs) : replay(inputs);
  if (!computed) return std::nullopt;
  Traced result{{}, extra_};
  for (std::size_t slot : outputs_) {
    const Arrays* from = &inputs;
    for (const Arrays* next : {&constants_, &*computed})
      if (slot >= from->size()) slot -= std::exchange(from, next)->size();
    result.outputs.push_back((*from)[slot]);
  }
  return result;
}

// ---- The cache ----

namespace {

std::atomic<bool>& enabled() {
  static std::atomic<bool> flag{std::getenv("CERMET_DISABLE_COMPILE") == nullptr};
  return flag;
}

template <class T>
void append(std::string& key, const T& value) {
  key.append(reinterpret_cast<const char*>(&value), sizeof(T));
}

std::string key_of(const Arrays& inputs, std::string_view key, bool with_shapes) {
  std::string all;
  append(all, key.size());
  all += key;
  const Stream stream = default_stream(default_device());
  append(all, stream.device.type);
  append(all, stream.device.index);
  append(all, stream.index);
  append(all, with_shapes);
  for (const array& in : inputs) {
    append(all, in.dtype());
    append(all, in.ndim());
    if (with_shapes)
      for (auto d : in.shape()) append(all, d);
  }
  return all;
}

// A cache of traces. Arrays that a function captures stay in the trace as they were; state that
// changes is passed as further inputs and outputs.
class CompiledFunction {
 public:
  explicit CompiledFunction(bool shapeless) : shapeless_(shapeless) {}
  // Runs `fun` on stand-ins unless a trace for such inputs and this `key` is there, and applies the
  // trace to the inputs.
  Traced operator()(const TraceFunction& fun, const Arrays& inputs, std::string_view key);

 private:
  std::shared_ptr<const Trace> trace(const TraceFunction& fun, const Arrays& inputs,
                                     const std::string& key, bool shapeless);
  const bool shapeless_;
  std::mutex mutex_;
  LruMap<std::string, std::shared_ptr<const Trace>> traces_{kMaxTraces};
};

std::shared_ptr<const Trace> CompiledFunction::trace(const TraceFunction& fun, const Arrays& inputs,
                                                     const std::string& key, bool shapeless) {
  {
    const std::lock_guard lock(mutex_);
    if (const auto* found = traces_.find(key)) return *found;
  }
  auto traced =
      std::make_shared<const Trace>(fun, inputs, shapeless);  // unlocked: it may call itself
  decltype(traces_)::Entries gone;  // outlives the lock: what a trace holds may call the function
  const std::lock_guard lock(mutex_);
  if (const auto* found = traces_.find(key)) return *found;  // of another thread
  return traces_.insert(key, std::move(traced), 1, &gone);
}

Traced CompiledFunction::operator()(const TraceFunction& fun, const Arrays& inputs,
                                    std::string_view key) {
  if (!enabled()) return fun(inputs);
  if (shapeless_)
    if (auto result = trace(fun, inputs, key_of(inputs, key, false), true)->apply(inputs))
      return *result;
  return trace(fun, inputs, key_of(inputs, key, true), false)->apply(inputs).value();
}

}  // namespace

KeyedCalls compile_by_key(bool shapeless) {
  return [cache = std::make_shared<CompiledFunction>(shapeless)](
             const TraceFunction& fun, const Arrays& inputs, std::string_view key) {
    return (*cache)(fun, inputs, key);
  };
}

Function compile(Function fun, bool shapeless) {
  return [calls = compile_by_key(shapeless),
          trace = TraceFunction([fun = std::move(fun)](const Arrays& inputs) {
            return Traced{fun(inputs), nullptr};
          })](const Arrays& inputs) { return calls(trace, inputs, {}).outputs; };
}

void disable_compile() { enabled() = false; }
void enable_compile() { enabled() = true; }

}  // namespace cermet
