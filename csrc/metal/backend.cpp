// The GPU's backend: which primitives run there, and what their families share.
#include "metal/backend.h"

#include <algorithm>
#include <cstdlib>

#include "../../metal/arguments.h"
#include "cermet/memory.h"
#include "graph/layout.h"
#include "metal/program.h"
#include "metal/regions.h"
#include "metal/work.h"

namespace cermet::metal {

std::string type_name(Dtype dtype) {
  static constexpr std::string_view names[kDtypeCount] = {
      "bool", "uchar", "ushort", "uint",   "ulong", "char", "short",
      "int",  "long",  "half",   "bfloat", "float", "",     "complex64"};
  return std::string(names[static_cast<int>(dtype)]);
}

std::string index_type(std::initializer_list<const Tensor*> tensors) {
  for (const Tensor* t : tensors) {
    std::int64_t last = 0;
    for (std::size_t i = 0; i < t->shape.size(); ++i)
      last += (t->shape[i] - 1) * std::abs(t->strides[i]);
    if (last > 0x7fffffff || t->size() > 0x7fffffff) return "long";
  }
  return "int";
}

bool is_row_major(const Tensor& t) { return cermet::is_row_major(t.shape, t.strides); }

Layout collapse(std::initializer_list<const Tensor*> tensors) {
  Layout out{(*tensors.begin())->shape, {}};
  for (const Tensor* t : tensors) out.strides.push_back(t->strides);
  merge_axes(out.shape, out.strides);
  if (out.shape.empty()) {
    out.shape.push_back(1);
    for (Strides& s : out.strides) s.push_back(0);
  }
  return out;
}

bool supports(const Node& node) {
  const auto fits = [](const Node& n) {
    return n.dtype != float64 && n.shape.size() <= CERMET_MAX_AXES;
  };
  if (!fits(node)) return false;
  for (const array& in : node.inputs)
    if (!fits(*in.node())) return false;
  switch (node.primitive->kind()) {
    case Kind::arange:
      return arange_supported(static_cast<const Arange&>(*node.primitive), node.dtype, node.size);
    case Kind::contiguous:
    case Kind::concatenate:
    case Kind::gather:
    case Kind::slice_update:
    case Kind::arg_reduce:
    case Kind::scan:
    case Kind::sort:
    case Kind::matmul:
    case Kind::random_bits: return true;
    case Kind::scatter:
      return scatter_supported(node.dtype, static_cast<const Scatter&>(*node.primitive).mode);
    case Kind::composite:
      return dynamic_cast<const Addmm*>(node.primitive.get()) || attention_supported(node) ||
             search_supported(node);
    case Kind::custom: return dynamic_cast<const GpuKernel*>(node.primitive.get()) != nullptr;
    default: return false;
  }
}

void run(Commands& commands, const Primitive& primitive, std::span<const Tensor> inputs,
         const Tensor& out) {
  switch (primitive.kind()) {
    case Kind::arange: return arange(commands, static_cast<const Arange&>(primitive), out);
    case Kind::contiguous: return copy(commands, inputs[0], out);
    case Kind::concatenate:
      return concatenate(commands, static_cast<const Concatenate&>(primitive), inputs, out);
    case Kind::gather: return gather(commands, static_cast<const Gather&>(primitive), inputs, out);
    case Kind::scatter:
      return scatter(commands, static_cast<const Scatter&>(primitive), inputs, out);
    case Kind::arg_reduce:
      return arg_reduce(commands, static_cast<const ArgReduce&>(primitive), inputs[0], out);
    case Kind::scan: return scan(commands, static_cast<const Scan&>(primitive), inputs[0], out);
    case Kind::sort: return sort(commands, static_cast<const Sort&>(primitive), inputs[0], out);
    case Kind::matmul: return matmul(commands, inputs, out);
    case Kind::composite:
      if (const auto* p = dynamic_cast<const Attention*>(&primitive))
        return attention(commands, p->options, inputs, out);
      if (const auto* p = dynamic_cast<const AttentionGradient*>(&primitive))
        return attention_gradient(commands, p->options, inputs, out);
      if (const auto* p = dynamic_cast<const SearchSorted*>(&primitive))
        return search_sorted(commands, p->options, inputs, out);
      return addmm(commands, dynamic_cast<const Addmm&>(primitive), inputs, out);
    case Kind::random_bits: return random_bits(commands, inputs, out);
    default:
      throw std::invalid_argument(std::string(primitive.name()) + ": not supported on the GPU");
  }
}

namespace {

// That of any elementwise operation: less than what moving its result takes.
constexpr double kOperationsAgain = 16;

// The composite that the CPU computes for the GPU; what else that one takes is programs here.
bool is_quantized_product(const Node& composite) {
  return dynamic_cast<const QuantizedMatmul*>(composite.primitive.get());
}

class MetalBackend final : public Backend {
 public:
  explicit MetalBackend(Device& device) : device_(device) {
    set_memory_limit(std::min(get_memory_limit(), device.memory_size()));
  }
  std::string_view name() const override { return "metal"; }
  const Limits& limits() const override {
    // Metal binds 31 buffers; a compiler takes its time for long texts.
    static constexpr Limits limits{
        24,
        24,
        1024,
        reduction_chunks,
        [](const Node& composite) {
          return supports(composite) ||
                 (is_quantized_product(composite) && host_backend().limits().takes(composite));
        },
        true,
        nullptr,
        kOperationsAgain};
    return limits;
  }
  std::map<std::string, std::variant<std::string, std::int64_t>> info() const override {
    return {{"device_name", device_.name()},
            {"architecture", device_.architecture()},
            {"memory_size", static_cast<std::int64_t>(device_.memory_size())},
            {"max_recommended_working_set_size", static_cast<std::int64_t>(device_.memory_size())},
            {"max_buffer_length", static_cast<std::int64_t>(device_.max_buffer_size())},
            {"simulated", std::int64_t{device_.simulated()}}};
  }
  std::unique_ptr<cermet::Queue> queue(Stream stream) override {
    return std::make_unique<Work>(stream);
  }

  bool takes(const Node& primitive) const override { return supports(primitive); }
  bool takes(const ProgramRun& run) const override { return supports(run); }
  bool takes(Dtype copied) const override { return copied != float64; }
  LayoutClass classify(const ProgramRun& run) const override { return metal::classify(run); }
  std::shared_ptr<const cermet::Kernel> prepare(const ProgramRun& run) override {
    return metal::prepare(run);
  }

  std::size_t set_wired_limit(std::size_t limit) override {
    if (limit > device_.memory_size())
      throw std::invalid_argument("set_wired_limit: " + std::to_string(limit) +
                                  " bytes, the device has at most " +
                                  std::to_string(device_.memory_size()));
    return regions().set_wired_limit(limit);
  }
  void start_capture(const std::string& path) override { device_.start_capture(path); }
  void stop_capture() override { device_.stop_capture(); }

 private:
  Device& device_;
};

}  // namespace

std::unique_ptr<Backend> make_backend() {
  Device* const d = device();
  return d ? std::make_unique<MetalBackend>(*d) : nullptr;
}

}  // namespace cermet::metal
