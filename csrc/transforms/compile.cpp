// Tracing a function once; a call is then one node that stands for the trace. Where its graph is
// needed, new nodes are made from the trace's, with no search and no checks.
#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <mutex>
#include <utility>

#include "graph/follow.h"
#include "graph/lru_map.h"
#include "transforms/recording.h"

namespace cermet {

// A recording that is called: by one node for inputs of its own shapes, else by its operations.
class Trace : public std::enable_shared_from_this<Trace> {
 public:
  Trace(const TraceFunction& fun, const Arrays& inputs, bool shapeless);
  // Absent when the trace does not tell the shapes for these inputs.
  std::optional<Traced> apply(const Arrays& inputs) const;
  // The results that are computed, made of new nodes.
  std::optional<Arrays> replay(std::span<const array> inputs) const;

  const std::uint64_t id;
  const Arrays& constants() const { return recording_->constants; }

 private:
  Arrays call(const Arrays& inputs) const;

  std::optional<Recording> recording_;
  std::vector<Recording::Slot> results_;  // the steps that are outputs, once each
  std::vector<std::size_t> outputs_;      // where they are: inputs, constants, results
  std::shared_ptr<const void> extra_;
};

namespace {

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

}  // namespace

Trace::Trace(const TraceFunction& fun, const Arrays& inputs, bool shapeless) : id(next_id()) {
  Results signature;
  for (const array& in : inputs) signature.push_back({rule_shape(in), in.dtype()});
  const auto traced = [&](const Arrays& in) {
    Traced t = fun(in);
    extra_ = std::move(t.extra);
    return std::move(t.outputs);
  };
  recording_ = recorded("compile", traced, std::move(signature), shapeless);
  for (std::size_t slot : recording_->outputs) {
    if (const std::size_t before = recording_->before_steps(); slot >= before) {
      const auto known = std::find(results_.begin(), results_.end(), slot) - results_.begin();
      if (known == std::ssize(results_)) results_.push_back(static_cast<Recording::Slot>(slot));
      slot = before + static_cast<std::size_t>(known);
    }
    outputs_.push_back(slot);
  }
}

std::optional<Arrays> Trace::replay(std::span<const array> inputs) const {
  const std::optional<Arrays> values = recording_->replay(inputs);
  if (!values) return std::nullopt;
  Arrays results;
  for (const auto slot : results_) results.push_back((*values)[slot]);
  return results;
}

Arrays Trace::call(const Arrays& inputs) const {
  if (results_.empty()) return {};
  Results results;
  for (const auto slot : results_) {
    const array& node = recording_->steps[slot - recording_->before_steps()].node;
    results.push_back({node.shape(), node.dtype()});
  }
  return make_outputs(make_ref<Call>(shared_from_this()), std::move(results),
                      {inputs.begin(), inputs.end()}, default_stream(default_device()));
}

std::optional<Traced> Trace::apply(const Arrays& inputs) const {
  // Within a shapeless trace this one's operations become that one's, or tie it.
  const bool followed = is_followed(inputs), tied = recording_->tied;
  if (followed && tied)
    for (const array& in : inputs) note_extents(*in.node());
  const std::optional<Arrays> computed =
      recording_->fits(inputs) && (tied || !followed) ? call(inputs) : replay(inputs);
  if (!computed) return std::nullopt;
  Traced result{{}, extra_};
  for (std::size_t slot : outputs_) {
    const Arrays* from = &inputs;
    for (const Arrays* next : {&constants(), &*computed})
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
