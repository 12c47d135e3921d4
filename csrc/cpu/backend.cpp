// The CPU's backend: everything runs on the calling thread and its pool, and is done at once.
#include "cpu/backend.h"

#include <sys/utsname.h>
#include <unistd.h>
#ifdef __APPLE__
#include <sys/sysctl.h>
#endif

#include <algorithm>
#include <fstream>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>

#include "cpu/floating_mode.h"
#include "cpu/primitives.h"
#include "cpu/program/epilogue.h"
#include "cpu/program/interpret.h"
#include "cpu/program/kernel.h"
#include "eval/interrupt.h"

namespace cermet::cpu {
namespace {

// The composites that are computed whole; those of quantization in float32 and 16-bit floats.
bool takes_whole(const Node& composite) {
  const Primitive* p = composite.primitive.get();
  if (dynamic_cast<const SearchSorted*>(p)) return !is_complex(composite.inputs[0].dtype());
  if (dynamic_cast<const TakeAlongAxis*>(p) || dynamic_cast<const MaxPool*>(p)) return true;
  if (takes_convolution(composite)) return true;
  // A GPU has kernels for the parts of these.
  const bool here = composite.stream.device.type == DeviceType::cpu;
  if (const auto* m = dynamic_cast<const BlockMaskedMatmul*>(p))
    return here && takes_masked(m->options, composite);
  if (dynamic_cast<const SegmentedMatmul*>(p)) return here && !is_complex(composite.dtype);
  const auto* gathered = dynamic_cast<const GatheredMatmul*>(p);
  if (gathered && !gathered->options.format)
    return here && takes_gathered(gathered->options, composite);
  if (dynamic_cast<const Attention*>(p) || dynamic_cast<const AttentionGradient*>(p))
    return here && composite.dtype != float64 &&
           std::none_of(composite.inputs.begin(), composite.inputs.end(),
                        [](const array& in) { return in.node()->size == 0; });
  for (const array& in : composite.inputs)
    if (in.dtype() == float64) return false;
  if (composite.dtype == float64) return false;
  // A global scale, which is the last input of others than affine, is a single one.
  const auto single = [&](const QuantizedFormat& f, std::size_t others) {
    return f.is_affine() || composite.inputs.size() == others ||
           composite.inputs.back().size() == 1;
  };
  if (const auto* m = dynamic_cast<const QuantizedMatmul*>(p)) return single(m->options, 3);
  if (gathered)
    return takes_gathered(gathered->options, composite) &&
           (!gathered->options.global_scale ||
            composite.inputs[gathered->options.factors()].size() == 1);
  if (const auto* d = dynamic_cast<const Dequantize*>(p)) return single(d->options, 2);
  if (const auto* w = dynamic_cast<const QuantizeWords*>(p)) return single(w->options, 2);
  const auto* scales = dynamic_cast<const QuantizeScales*>(p);
  return scales && single(scales->options, 1);
}

// Products of floats whose results can go to an epilogue: 1, or a number for the format of weights.
std::uint32_t epilogue_kind(const Node& product) {
  if (product.primitive->kind() == Kind::matmul)
    return is_inexact(product.dtype) && product.inputs[0].shape().back() != 0;
  const auto* quantized = dynamic_cast<const QuantizedMatmul*>(product.primitive.get());
  if (!quantized || !takes_whole(product)) return 0;
  const QuantizedFormat& f = quantized->options;
  return static_cast<std::uint32_t>(static_cast<int>(f.mode) << 20 |
                                    static_cast<int>(product.inputs.size()) << 16 |
                                    f.group_size << 8 | f.bits << 2 | f.transpose << 1);
}

void run_whole(const Primitive& composite, std::span<const Tensor> inputs, const Tensor& out) {
  if (const auto* p = dynamic_cast<const QuantizedMatmul*>(&composite))
    quantized_matmul(p->options, inputs, out);
  else if (const auto* p = dynamic_cast<const GatheredMatmul*>(&composite))
    gathered_matmul(*p, inputs, out);
  else if (const auto* p = dynamic_cast<const BlockMaskedMatmul*>(&composite))
    block_masked_matmul(*p, inputs, out);
  else if (const auto* p = dynamic_cast<const SegmentedMatmul*>(&composite))
    segmented_matmul(*p, inputs, out);
  else if (const auto* p = dynamic_cast<const Dequantize*>(&composite))
    dequantize(p->options, inputs, out);
  else if (const auto* p = dynamic_cast<const QuantizeWords*>(&composite))
    quantize(p->options, inputs, out);
  else if (const auto* p = dynamic_cast<const Attention*>(&composite))
    attention(p->options, inputs, out);
  else if (const auto* p = dynamic_cast<const AttentionGradient*>(&composite))
    attention_gradient(p->options, inputs, out);
  else if (const auto* p = dynamic_cast<const SearchSorted*>(&composite))
    search_sorted(*p, inputs, out);
  else if (const auto* p = dynamic_cast<const TakeAlongAxis*>(&composite))
    take_along_axis(*p, inputs[0], inputs[1], out);
  else if (const auto* p = dynamic_cast<const QuantizeScales*>(&composite))
    quantize_scales(p->options, inputs, out);
  else if (const auto* p = dynamic_cast<const MaxPool*>(&composite))
    max_pool(p->options, inputs, out);
  else
    convolution(composite, inputs, out);
}

}  // namespace

void run(const Primitive& primitive, std::span<const Tensor> inputs, const Tensor& out) {
  if (out.size() == 0) return;
  const DefaultFloatingMode mode;
  auto as = [&]<class P>(Type<P>) -> const P& { return static_cast<const P&>(primitive); };
  switch (primitive.kind()) {
    case Kind::arange: return arange(as(Type<Arange>{}), out);
    case Kind::contiguous:
      if (out.data != inputs[0].data) copy(inputs[0], out);
      return;
    case Kind::concatenate: return concatenate(as(Type<Concatenate>{}), inputs, out);
    case Kind::gather: return gather(as(Type<Gather>{}), inputs, out);
    case Kind::scatter: return scatter(as(Type<Scatter>{}), inputs, out);
    case Kind::arg_reduce: return arg_reduce(as(Type<ArgReduce>{}), inputs[0], out);
    case Kind::scan: return scan(as(Type<Scan>{}), inputs[0], out);
    case Kind::sort: return sort(as(Type<Sort>{}), inputs[0], out);
    case Kind::matmul: return matmul(inputs[0], inputs[1], out);
    case Kind::composite: return run_whole(primitive, inputs, out);
    case Kind::fft: return fft(as(Type<Fft>{}), inputs[0], out);
    case Kind::random_bits: return random_bits(inputs[0], out);
    case Kind::load: return load(as(Type<Load>{}), out);
    default:
      throw std::logic_error(std::string(primitive.name()) + ": the CPU runs this in another way");
  }
}

namespace {

Tensor tensor(const Node& n) {
  return {static_cast<std::byte*>(n.buffer->data()) + n.offset * size_of(n.dtype), n.dtype, n.shape,
          n.strides};
}

// A program's numbers and memory as the interpreter takes them.
struct Ports {
  explicit Ports(const ProgramRun& run)
      : inputs(ports(run.inputs)),
        outputs(ports(run.outputs)),
        binding{{run.domain.data(), run.domain.size()},
                {run.constants.data(), run.constants.size()},
                {inputs.data(), inputs.size()},
                {outputs.data(), outputs.size()}} {}
  using List = SmallVector<BoundPort, 8>;
  static List ports(const SmallVector<BoundArray, 8>& arrays) {
    List out;
    for (const BoundArray& a : arrays) {
      const Node& n = *a.node;
      std::byte* data = n.buffer ? static_cast<std::byte*>(n.buffer->data()) +
                                       n.offset * static_cast<std::int64_t>(size_of(n.dtype))
                                 : nullptr;
      out.push_back({data, a.strides});
    }
    return out;
  }
  const List inputs, outputs;
  const Binding binding;
};

Arrays several_results(const Node& node, std::span<const Tensor> inputs) {
  if (node.primitive->kind() == Kind::custom)
    return static_cast<const Custom&>(*node.primitive)
        .run({node.inputs.data(), node.inputs.size()});
  const auto& factorization = static_cast<const Factorization&>(*node.primitive);
  Arrays results;
  std::vector<Tensor> outputs;
  for (const auto& [shape, dtype] : factorization.results(inputs[0].shape)) {
    const auto bytes = static_cast<std::size_t>(element_count(shape)) * size_of(dtype);
    results.emplace_back(cermet::allocate(bytes), shape, dtype, row_major(shape));
    outputs.push_back(tensor(*results.back().node()));
  }
  factorize(factorization, inputs, outputs);
  return results;
}

class CpuQueue final : public Queue {
 public:
  Ref<Buffer> allocate(std::size_t bytes) override { return cermet::allocate(bytes); }
  void wait_for(Ticket& ticket) override { ticket.wait(); }

  std::shared_ptr<Ticket> run(const Kernel& kernel, const ProgramRun& run) override {
    const Ports ports(run);
    cpu::run(static_cast<const ProgramKernel&>(kernel).for_run(run.size(), ports.binding),
             ports.binding, run.overwrites);
    return nullptr;
  }
  std::shared_ptr<Ticket> run(Node& node, std::span<Node* const> inputs) override {
    SmallVector<Tensor, 4> list;
    for (const Node* n : inputs) list.push_back(tensor(*n));
    const std::span<const Tensor> tensors(list.data(), list.size());
    if (has_several_results(node.primitive->kind())) {
      node.outputs = several_results(node, tensors);
      node.buffer = cermet::allocate(0);
      return nullptr;
    }
    std::optional<Uninterrupted> guard;
    if (!inputs.empty() && inputs[0]->buffer == node.buffer) guard.emplace();
    cpu::run(*node.primitive, tensors, tensor(node));
    return nullptr;
  }
  std::shared_ptr<Ticket> run_products(std::span<const ProductRun> products, const Kernel& epilogue,
                                       const ProgramRun& run) override {
    const DefaultFloatingMode mode;
    std::optional<Uninterrupted> guard;
    if (run.overwrites) guard.emplace();
    const Node& node = products[0].node;
    const Shape& shape = node.shape;
    const std::size_t axes = shape.size();
    std::vector<Tensor> inputs;
    for (const ProductRun& product : products)
      for (const Node* n : product.inputs) inputs.push_back(tensor(*n));
    const Ports ports(run);
    TileProgram program(
        static_cast<const ProgramKernel&>(epilogue).for_run(run.size(), ports.binding),
        ports.binding, axes > 1 ? shape[axes - 2] : 1, shape[axes - 1]);
    const Tensor out{nullptr, node.dtype, shape, row_major(shape)};
    try {
      if (node.primitive->kind() == Kind::matmul)
        matmul(inputs, out, program);
      else
        quantized_matmul(static_cast<const QuantizedMatmul&>(*node.primitive).options,
                         products.size(), inputs, out, program);
    } catch (const std::exception& e) {
      if (!run.overwrites || !program.has_begun()) throw;
      // What it has overwritten cannot be computed again.
      throw std::runtime_error(std::string(node.primitive->name()) + ": " + e.what());
    }
    return nullptr;
  }
  std::shared_ptr<Ticket> copy(const Node& from, const Node& to) override {
    cpu::copy(tensor(from), tensor(to));
    return nullptr;
  }
};

std::string cpu_name() {
#ifdef __APPLE__
  char name[256];
  std::size_t size = sizeof name;
  if (sysctlbyname("machdep.cpu.brand_string", name, &size, nullptr, 0) == 0) return name;
#endif
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  return "CPU";
}

class CpuBackend final : public Backend {
 public:
  std::string_view name() const override { return "cpu"; }
  bool is_host() const override { return true; }
  const Limits& limits() const override {
    // A program's code stays in the cache, and so does what it holds.
    static constexpr Limits limits{256, 32, 1024, nullptr, takes_whole, true, epilogue_kind};
    return limits;
  }
  std::map<std::string, std::variant<std::string, std::int64_t>> info() const override {
    utsname name{};
    uname(&name);
    const std::int64_t memory = std::int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE);
    return {{"device_name", cpu_name()},
            {"architecture", std::string(name.machine)},
            {"memory_size", memory},
            {"max_recommended_working_set_size", memory},  // as a GPU has it
            {"cores", std::int64_t{std::thread::hardware_concurrency()}}};
  }
  std::unique_ptr<Queue> queue(Stream) override { return std::make_unique<CpuQueue>(); }

  bool takes(const Node&) const override { return true; }
  bool takes(const ProgramRun&) const override { return true; }
  bool takes(Dtype) const override { return true; }
  cermet::LayoutClass classify(const ProgramRun& run) const override {
    return words(cpu::classify(run.program, Ports(run).binding));
  }
  std::shared_ptr<const Kernel> prepare(const ProgramRun& run) override {
    return std::make_shared<ProgramKernel>(
        lower(run.program, cpu::classify(run.program, Ports(run).binding)));
  }
  std::string listing(const ProgramRun& run) const override {
    return cpu::listing(lower(run.program, cpu::classify(run.program, Ports(run).binding)));
  }
  void count(PlanCounts& counts) const override {
    const machine::Counts code = machine::counts();
    counts.functions_made += code.made;
    counts.functions += code.functions;
    counts.function_bytes += code.bytes;
  }

 private:
  static cermet::LayoutClass words(const cpu::LayoutClass& layout) {
    cermet::LayoutClass out{static_cast<std::uint32_t>(layout.outer) << 5 |
                            static_cast<std::uint32_t>(layout.geometry) << 3 |
                            static_cast<std::uint32_t>(layout.in_blocks) << 2 |
                            static_cast<std::uint32_t>(layout.by_rows) << 1 | layout.keeps};
    for (const auto* bits : {&layout.linear, &layout.constant})
      for (std::size_t i = 0; i < bits->size(); ++i) {
        if (i % 32 == 0) out.push_back(0);
        out.back() |= static_cast<std::uint32_t>((*bits)[i]) << i % 32;
      }
    return out;
  }
};

}  // namespace

std::unique_ptr<Backend> make_backend() { return std::make_unique<CpuBackend>(); }

}  // namespace cermet::cpu
