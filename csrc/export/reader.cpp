// Reading functions. A file may come from anywhere: every length is checked before anything is made
// of it, and every node is made by the operation that it belongs to, at the shapes that the file
// says and, of a shapeless function, again for others.
#include <algorithm>
#include <array>
#include <complex>
#include <cstring>

#include "cermet/ops.h"
#include "cermet/transforms.h"
#include "export/format.h"
#include "export/primitives.h"
#include "graph/check.h"
#include "graph/tracing.h"
#include "io/stored.h"

namespace cermet {
namespace {

using namespace exported;
constexpr const char* kImport = "import_function";

[[noreturn]] void refuse(const std::string& what) { throw std::invalid_argument(what); }

// ---- Graphs ----

struct Graph;

// A function with rules of its own.
struct CustomGraphs {
  std::shared_ptr<const Graph> fun, vjp, jvp;
  Arrays call(const Arrays& primals) const;
};

struct Step {
  const Entry* entry;  // null: a pick, or a custom function
  Ref<const Primitive> primitive;
  std::optional<CustomGraphs> custom;
  int picked;
  std::vector<std::uint32_t> operands;
  Dtype dtype;
  Shape shape;
  On on;
  bool has_several() const { return custom || (entry && has_several_results(primitive->kind())); }
};

StreamOrDevice place(On on) {
  if (on == On::usual) return {};
  return on == On::cpu ? DeviceType::cpu : DeviceType::gpu;
}

struct Graph {
  Results inputs;
  Arrays constants;
  std::vector<Step> steps;
  std::vector<std::uint32_t> outputs;
  Arrays prototypes;  // of a shapeless graph: a node of each step at the inputs' own shapes

  std::size_t before_steps() const { return inputs.size() + constants.size(); }
  Arrays operator()(const Arrays& in) const {
    const Arrays values = make(in);
    Arrays results;
    for (const auto slot : outputs) results.push_back(values[slot]);
    return results;
  }
  Arrays make(const Arrays& in) const {
    if (in.size() != inputs.size()) refuse("a function has another number of inputs");
    Arrays values = in;
    values.insert(values.end(), constants.begin(), constants.end());
    std::vector<Arrays> several(steps.size());  // results of nodes with several
    for (std::size_t i = 0; i < steps.size(); ++i) {
      Arrays from;
      for (const auto slot : steps[i].operands) from.push_back(values[slot]);
      try {
        values.push_back(make(i, from, several));
      } catch (const std::logic_error& e) {
        refuse("node " + std::to_string(i) + ": " + e.what());
      }
    }
    return values;
  }

 private:
  array make(std::size_t i, const Arrays& from, std::vector<Arrays>& several) const {
    const Step& step = steps[i];
    if (step.custom) {
      several[i] = step.custom->call(from);
      if (several[i].empty()) refuse("a function without results");
      return several[i][0];  // stands for the node, which only picks read
    }
    if (!step.entry) {
      const Arrays& all = several[step.operands[0] - before_steps()];
      if (step.picked < 0 || static_cast<std::size_t>(step.picked) >= all.size())
        refuse("there is no such result");
      return checked(step, step.shape, all[static_cast<std::size_t>(step.picked)]);
    }
    const Shape shape =
        prototypes.empty() ? step.shape : step.primitive->output_shape(*prototypes[i].node(), from);
    const array made = step.entry->make(*step.primitive, {from, shape, step.dtype, place(step.on)});
    if (!step.has_several()) return checked(step, shape, made);
    const auto& results = static_cast<const Factorization&>(*made.primitive());
    several[i] = all_of(made, results.results(made.inputs()[0].shape()));
    return made;
  }
  static const array& checked(const Step& step, const Shape& shape, const array& made) {
    if (made.shape() == shape && made.dtype() == step.dtype) return made;
    refuse("it is " + std::string(name_of(step.dtype)) + " " + to_string(shape) +
           ", where the operation gives " + std::string(name_of(made.dtype())) + " " +
           to_string(made.shape()));
  }
  static Arrays all_of(const array& node, Results results) {
    const auto shared = std::make_shared<const Results>(std::move(results));
    Arrays all;
    for (std::size_t i = 0; i < shared->size(); ++i)
      all.emplace_back(make_ref<Pick>(static_cast<int>(i), shared), (*shared)[i].shape,
                       (*shared)[i].dtype, SmallVector<array, 2>{node}, node.stream());
    return all;
  }
};

Arrays joined(std::initializer_list<const Arrays*> lists) {
  Arrays all;
  for (const Arrays* list : lists) all.insert(all.end(), list->begin(), list->end());
  return all;
}

Arrays CustomGraphs::call(const Arrays& primals) const {
  CustomRules rules;
  if (vjp)
    rules.vjp = [rule = vjp](const Arrays& in, const Arrays& cotangents, const Arrays& outputs) {
      return (*rule)(joined({&in, &cotangents, &outputs}));
    };
  if (jvp)
    rules.jvp = [rule = jvp](const Arrays& in, const Arrays& tangents) {
      return (*rule)(joined({&in, &tangents}));
    };
  return custom_function([f = fun](const Arrays& in) { return (*f)(in); }, rules)(primals);
}

// ---- Files ----

class File {
 public:
  explicit File(const Ref<const Source>& source) : source_(source) {}

  std::string metadata;
  std::vector<std::pair<Signature, std::shared_ptr<const Graph>>> functions;

  void read() {
    std::vector<std::byte> bytes(kHeader);
    if (source_->size < kHeader) refuse("it is too short for an exported function");
    source_->read(0, bytes, "");
    if (std::memcmp(bytes.data(), kMagic, sizeof kMagic) != 0) refuse("it is no exported function");
    Reader header(std::span<const std::byte>(bytes).subspan(sizeof kMagic));
    const std::uint64_t version = header.count(0);
    if (version != kVersion)
      refuse("its version is " + std::to_string(version) + ", expected " +
             std::to_string(kVersion));
    if (header.count(0) != 0) refuse("a part of the header is not zero");
    const std::uint64_t length = header.bits();
    elements_ = header.bits();
    if (length > source_->size - kHeader || elements_ > source_->size ||
        elements_ < kHeader + length)
      refuse("it is cut short");
    bytes.resize(length);
    source_->read(kHeader, bytes, "");

    Reader in(bytes);
    metadata = in.text();
    read_constants(in);
    for (std::size_t n = in.count(1); n > 0; --n) {
      Signature signature = Signature::read(in);
      const auto graph = read_graph(in, signature.inputs);
      const Arrays values = probe(*graph);
      if (signature.shapeless) add_prototypes(*graph, values);
      functions.emplace_back(std::move(signature), graph);
    }
    if (!in.at_end()) refuse("there is more behind its end");
  }

 private:
  void read_constants(Reader& in) {
    std::uint64_t end = 0;
    for (std::size_t n = in.count(1); n > 0; --n) {
      const auto dtype = get<Dtype>(in);
      const auto shape = get<Shape>(in);
      const auto bytes = static_cast<std::uint64_t>(element_count(shape)) * size_of(dtype);
      const auto held = static_cast<Held>(in.small(3));
      const std::uint64_t bits = in.bits();
      const std::string name = "constant " + std::to_string(constants_.size());
      if (held != Held::stored) {
        if (held == Held::scalar && !shape.empty()) refuse(name + " is no scalar");
        constants_.push_back(broadcast_to(scalar(bits, dtype), shape));
        continue;
      }
      const std::uint64_t there = source_->size - elements_;
      if (bits < end || bits > there || bytes > there - bits)
        refuse(name + " lies outside of the file, or over another");
      end = bits + bytes;
      io::Stored stored;
      stored.begin = elements_ + bits;
      stored.dtype = dtype;
      stored.shape = shape;
      stored.part = name;
      constants_.push_back(io::stored_array(source_, std::move(stored), {}));
    }
  }
  static array scalar(std::uint64_t bits, Dtype dtype) {
    return visit(dtype, [&]<class T>(Type<T>) {
      if constexpr (std::is_same_v<T, bool>) return array(bits != 0);
      T v;
      std::memcpy(static_cast<void*>(&v), &bits, sizeof v);
      if constexpr (std::is_same_v<T, complex64_t>)
        return array(std::complex<float>(v.re, v.im), dtype);
      else if constexpr (std::is_integral_v<T>)
        return array(static_cast<std::int64_t>(v), dtype);
      else if constexpr (std::is_floating_point_v<T>)
        return array(static_cast<double>(v), dtype);
      else
        return array(static_cast<double>(to_float(v)), dtype);
    });
  }

  std::shared_ptr<Graph> read_graph(Reader& in, Results inputs) {
    auto graph = std::make_shared<Graph>();
    graph->inputs = std::move(inputs);
    for (std::size_t n = in.count(4); n > 0; --n) {
      const std::size_t number = in.count(0);
      if (number >= constants_.size()) refuse("there is no such constant");
      graph->constants.push_back(constants_[number]);
    }
    std::size_t slots = graph->before_steps();
    for (std::size_t n = in.count(1); n > 0; --n, ++slots)
      graph->steps.push_back(read_step(in, *graph, slots));
    for (std::size_t n = in.count(4); n > 0; --n) graph->outputs.push_back(slot(in, *graph, slots));
    return graph;
  }
  // The number of a value before `end`, of elements.
  static std::uint32_t slot(Reader& in, const Graph& graph, std::size_t end, bool several = false) {
    const std::size_t slot = in.count(0), first = graph.before_steps();
    if (slot >= end) refuse("a node reads what comes later");
    if (several != (slot >= first && graph.steps[slot - first].has_several()))
      refuse("a node reads another that has several results or has not");
    return static_cast<std::uint32_t>(slot);
  }
  Step read_step(Reader& in, const Graph& graph, std::size_t end) {
    Step step{};
    const std::string name = in.text();
    const bool picks = name == kPick, custom = name == kCustom;
    step.entry = picks || custom ? nullptr : entry_named(name);
    if (!picks && !custom && !step.entry) refuse("there is no primitive '" + name + "'");
    const std::size_t count = in.count(4);
    if (picks && count != 1) refuse("a result is of one node");
    for (std::size_t i = 0; i < count; ++i) step.operands.push_back(slot(in, graph, end, picks));
    step.dtype = get<Dtype>(in);
    step.shape = get<Shape>(in);
    element_count(step.shape);
    step.on = static_cast<On>(in.small(3));
    if (step.on == On::gpu && !is_available({DeviceType::gpu, 0})) step.on = On::usual;
    if (step.entry)
      step.primitive = step.entry->read(in);
    else if (picks)
      step.picked = get<int>(in);
    else
      step.custom = read_custom(in);
    return step;
  }
  CustomGraphs read_custom(Reader& in) {
    if (depth_ == kDeepest) refuse("functions are nested too deeply");
    ++depth_;
    CustomGraphs graphs;
    const auto rule = [&] {
      const std::shared_ptr<Graph> graph = read_graph(in, get<Results>(in));
      probe(*graph);
      return graph;
    };
    graphs.fun = rule();
    if (in.flag()) graphs.vjp = rule();
    if (in.flag()) graphs.jvp = rule();
    --depth_;
    return graphs;
  }
  // All values at the inputs' own shapes, of stand-ins for them.
  static Arrays probe(const Graph& graph) {
    const Tracing trace;
    Arrays stand_ins;
    for (const auto& [shape, dtype] : graph.inputs)
      stand_ins.push_back(make_placeholder(shape, dtype, kImport));
    return graph.make(stand_ins);
  }

  static void add_prototypes(Graph& graph, const Arrays& values) {
    for (const Step& step : graph.steps) {
      if (!step.entry || step.has_several()) refuse("several results follow from no other extents");
      SmallVector<array, 2> from;
      for (const auto slot : step.operands) from.push_back(values[slot]);
      graph.prototypes.emplace_back(step.primitive, step.shape, step.dtype, std::move(from),
                                    Stream{});
    }
  }

  static constexpr int kDeepest = 8;
  const Ref<const Source> source_;
  std::uint64_t elements_ = 0;  // where they begin
  Arrays constants_;
  int depth_ = 0;
};

}  // namespace

class ImportedFunction::Functions {
 public:
  explicit Functions(const Ref<const Source>& source) : file(source->name) {
    File read(source);
    try {
      read.read();
    } catch (const std::logic_error& e) {
      io::fail(kImport, file, e.what());
    }
    metadata = std::move(read.metadata);
    for (auto& [signature, graph] : read.functions)
      functions.push_back({std::move(signature), graph, compile_by_key()});
  }

  Arrays operator()(const Arrays& args, const ArrayMap& kwargs) const {
    for (const One& f : functions)
      if (const auto inputs = f.inputs_of(args, kwargs))
        return f
            .calls([&](const Arrays& in) { return Traced{graph_of(f, in), nullptr}; }, *inputs, {})
            .outputs;
    Signature given{false, args.size(), {}, {}};
    for (const array& a : args) given.inputs.push_back({a.shape(), a.dtype()});
    for (const auto& [name, a] : kwargs) {
      given.names.push_back(name);
      given.inputs.push_back({a.shape(), a.dtype()});
    }
    static constexpr char kAnyExtents[] = "\n  with any extents";
    std::string text = std::string(kImport) + ": " + file + " has no function of\n" + given.text() +
                       "\nIt has " + (functions.empty() ? "none" : "functions of");
    for (const One& f : functions)
      text.append("\n").append(f.signature.text()).append(f.signature.shapeless ? kAnyExtents : "");
    throw std::invalid_argument(text);
  }

  std::string file, metadata;

 private:
  struct One {
    Signature signature;
    std::shared_ptr<const Graph> graph;
    KeyedCalls calls;

    // Absent where the arguments are others. Names that it does not know count as positions.
    std::optional<Arrays> inputs_of(const Arrays& args, const ArrayMap& kwargs) const {
      Arrays all = args, named;
      ArrayMap rest = kwargs;
      for (const std::string& name : signature.names) {
        const auto found = rest.find(name);
        if (found == rest.end()) return std::nullopt;
        named.push_back(found->second);
        rest.erase(found);
      }
      for (const auto& [name, a] : rest) all.push_back(a);
      if (all.size() != signature.positional) return std::nullopt;
      all.insert(all.end(), named.begin(), named.end());
      Results given;
      for (const array& a : all) given.push_back({a.shape(), a.dtype()});
      if (!signature.takes(given)) return std::nullopt;
      return all;
    }
  };
  std::vector<One> functions;

  // Of a shapeless function: operations may refuse the extents.
  Arrays graph_of(const One& f, const Arrays& in) const {
    try {
      return (*f.graph)(in);
    } catch (const std::invalid_argument& e) {
      throw std::invalid_argument(std::string(kImport) + ": " + file + ": " + e.what());
    }
  }
};

ImportedFunction import_function(const Ref<const Source>& source) {
  ImportedFunction f;
  f.functions_ = std::make_shared<const ImportedFunction::Functions>(source);
  return f;
}
ImportedFunction import_function(const std::string& file) {
  return import_function(open_file(kImport, file));
}
Arrays ImportedFunction::operator()(const Arrays& args, const ArrayMap& kwargs) const {
  return (*functions_)(args, kwargs);
}
const std::string& ImportedFunction::metadata() const { return functions_->metadata; }

}  // namespace cermet
