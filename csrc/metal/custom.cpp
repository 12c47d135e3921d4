// Kernels that users write: their source around the user's body, and their launch.
#include <algorithm>
#include <cstring>
#include <iostream>
#include <limits>

#include "cermet/fast.h"
#include "graph/check.h"
#include "metal/library.h"

namespace cermet {
namespace fast {
namespace {

// Kernel attributes, by the name they have as arguments.
struct Builtin {
  std::string_view type, name;
};
constexpr Builtin kBuiltins[] = {
    {"uint3", "thread_position_in_grid"},
    {"uint3", "thread_position_in_threadgroup"},
    {"uint3", "threadgroup_position_in_grid"},
    {"uint3", "threads_per_grid"},
    {"uint3", "threads_per_threadgroup"},
    {"uint3", "threadgroups_per_grid"},
    {"uint3", "dispatch_threads_per_threadgroup"},
    {"uint", "thread_index_in_threadgroup"},
    {"uint", "thread_index_in_simdgroup"},
    {"uint", "thread_index_in_quadgroup"},
    {"uint", "simdgroup_index_in_threadgroup"},
    {"uint", "quadgroup_index_in_threadgroup"},
    {"uint", "simdgroups_per_threadgroup"},
    {"uint", "quadgroups_per_threadgroup"},
    {"uint", "threads_per_simdgroup"},
    {"uint", "dispatch_simdgroups_per_threadgroup"},
};

bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; }

std::string metal_name(Dtype t) {
  if (t == float64) fail("metal_kernel", "there is no float64 in Metal");
  return t == complex64 ? "complex64_t" : metal::type_name(t);
}

std::string text_of(const MetalKernel::TemplateArgument& a) {
  if (const auto* n = std::get_if<std::int64_t>(&a)) return std::to_string(*n);
  if (const auto* b = std::get_if<bool>(&a)) return *b ? "true" : "false";
  return metal_name(std::get<Dtype>(a));
}

std::array<std::uint32_t, 3> checked(std::string_view what, const MetalKernel::Extents& e) {
  std::array<std::uint32_t, 3> out{};
  for (int i = 0; i < 3; ++i) {
    if (e[i] < 1 || e[i] > std::numeric_limits<std::uint32_t>::max())
      fail("metal_kernel", what, " has ", e[i], " along axis ", i, ", expected at least 1");
    out[i] = static_cast<std::uint32_t>(e[i]);
  }
  return out;
}

}  // namespace

MetalKernel::MetalKernel(std::string name, std::vector<std::string> input_names,
                         std::vector<std::string> output_names, std::string source,
                         std::string header, bool ensure_row_contiguous, bool atomic_outputs)
    : name_(std::move(name)),
      input_names_(std::move(input_names)),
      output_names_(std::move(output_names)),
      body_(std::move(source)),
      header_(std::move(header)),
      ensure_row_contiguous_(ensure_row_contiguous),
      atomic_outputs_(atomic_outputs) {
  if (output_names_.empty()) fail("metal_kernel", "expected at least one output");
  std::vector<std::string> names = {name_};
  for (const auto* list : {&input_names_, &output_names_})
    for (const std::string& n : *list) names.push_back(n);
  for (const std::string& n : names)
    if (n.empty() || !std::all_of(n.begin(), n.end(), is_word) ||
        std::isdigit(static_cast<unsigned char>(n[0])))
      fail("metal_kernel", "'", n, "' is not an identifier");
  for (std::size_t i = 1; i < names.size(); ++i)
    if (std::find(names.begin() + 1, names.begin() + i, names[i]) != names.begin() + i)
      fail("metal_kernel", "two arguments are named '", names[i], "'");
}

bool MetalKernel::mentions(std::string_view word) const {
  for (std::size_t at = 0; (at = body_.find(word, at)) != std::string::npos; at += word.size()) {
    const std::size_t end = at + word.size();
    if ((at == 0 || !is_word(body_[at - 1])) && (end == body_.size() || !is_word(body_[end])))
      return true;
  }
  return false;
}

std::string MetalKernel::kernel_name(const TemplateArguments& arguments) const {
  std::string out = "custom_kernel_" + name_;
  for (const auto& [name, value] : arguments) out.append("_").append(text_of(value));
  std::replace_if(out.begin(), out.end(), [](char c) { return !is_word(c); }, 'n');
  return out;
}

std::string MetalKernel::source(const Arrays& inputs, const std::vector<Dtype>& output_dtypes,
                                const TemplateArguments& arguments) const {
  std::vector<std::string> parameters;
  int slot = 0;
  const auto add = [&](const std::string& declaration) {
    parameters.push_back(declaration + " [[buffer(" + std::to_string(slot++) + ")]]");
  };
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const std::string type = metal_name(inputs[i].dtype()), &name = input_names_[i];
    if (inputs[i].ndim() == 0)
      add("constant " + type + "& " + name);
    else
      add("device const " + type + "* " + name);
    if (mentions(name + "_shape")) add("constant const int* " + name + "_shape");
    if (mentions(name + "_strides")) add("constant const long* " + name + "_strides");
    if (mentions(name + "_ndim")) add("constant int& " + name + "_ndim");
  }
  for (std::size_t i = 0; i < output_dtypes.size(); ++i) {
    const std::string type = metal_name(output_dtypes[i]);
    add("device " + (atomic_outputs_ ? "atomic<" + type + ">" : type) + "* " + output_names_[i]);
  }
  if (slot > metal::kMaxBuffers)
    fail("metal_kernel", name_, " has ", slot, " buffers, Metal has ", metal::kMaxBuffers);
  for (const Builtin& b : kBuiltins)
    if (mentions(b.name))
      parameters.push_back(std::string(b.type) + " " + std::string(b.name) + " [[" +
                           std::string(b.name) + "]]");

  const std::string kernel = kernel_name(arguments), function = "custom_kernel_" + name_;
  std::string text;
  if (!header_.empty()) text += "#line 1 \"" + name_ + ".h\"\n" + header_ + "\n";
  text += "#line 1 \"" + name_ + " (signature)\"\n";
  std::string values;
  if (!arguments.empty()) {
    text += "template <";
    for (const auto& [name, value] : arguments) {
      text += (values.empty() ? "" : ", ") +
              std::string(value.index() == 0   ? "int "
                          : value.index() == 1 ? "bool "
                                               : "typename ") +
              name;
      values += (values.empty() ? "" : ", ") + text_of(value);
    }
    text += ">\n";
  }
  text += "[[kernel]] void " + (arguments.empty() ? kernel : function) + "(";
  for (std::size_t i = 0; i < parameters.size(); ++i)
    text += (i ? ",\n    " : "\n    ") + parameters[i];
  text += ") {\n#line 1 \"" + name_ + ".metal\"\n" + body_ + "\n}\n";
  if (!arguments.empty()) {
    const std::string instance = function + "<" + values + ">";
    text += "template [[host_name(\"" + kernel + "\")]] [[kernel]] decltype(" + instance + ") " +
            instance + ";\n";
  }
  return text;
}

Arrays MetalKernel::operator()(const Arrays& inputs, const std::vector<Shape>& output_shapes,
                               const std::vector<Dtype>& output_dtypes, Extents grid,
                               Extents threadgroup, const TemplateArguments& arguments,
                               std::optional<double> init_value, bool verbose,
                               StreamOrDevice s) const {
  Stream stream = s.resolve();
  if (stream.device.type != DeviceType::gpu) {  // work by work, the memory is the same
    const Device gpu{DeviceType::gpu, 0};
    if (!cermet::is_available(gpu))
      fail("metal_kernel", name_,
           " runs on a GPU, which this machine does not have, or on the simulator: install "
           "cermet[simulator] and set CERMET_METAL=simulator before Python starts");
    stream = default_stream(gpu);
  }
  if (inputs.size() != input_names_.size())
    fail("metal_kernel", name_, " takes ", std::to_string(input_names_.size()), " inputs, got ",
         std::to_string(inputs.size()));
  if (output_shapes.size() != output_names_.size() || output_dtypes.size() != output_names_.size())
    fail("metal_kernel", name_, " has ", std::to_string(output_names_.size()), " outputs, got ",
         std::to_string(output_shapes.size()), " shapes and ", std::to_string(output_dtypes.size()),
         " dtypes");
  GpuKernel::Launch launch;
  launch.kernel = kernel_name(arguments);
  launch.source = source(inputs, output_dtypes, arguments);
  launch.grid = checked("the grid", grid);
  launch.group = checked("the threadgroup", threadgroup);
  for (int i = 0; i < 3; ++i) launch.group[i] = std::min(launch.group[i], launch.grid[i]);
  for (const std::string& name : input_names_)
    launch.inputs.push_back(
        {mentions(name + "_shape"), mentions(name + "_strides"), mentions(name + "_ndim")});
  launch.row_contiguous = ensure_row_contiguous_;
  launch.init = init_value;
  for (std::size_t i = 0; i < output_shapes.size(); ++i) {
    element_count(output_shapes[i]);
    launch.results.push_back({output_shapes[i], output_dtypes[i]});
  }
  if (verbose) std::cout << launch.source << std::flush;
  Results results = launch.results;
  return make_outputs(make_ref<GpuKernel>(std::move(launch)), std::move(results),
                      SmallVector<array, 2>(inputs.begin(), inputs.end()), stream);
}

}  // namespace fast

namespace metal {

Arrays run(Commands& commands, const GpuKernel& primitive, std::span<const Tensor> inputs) {
  const GpuKernel::Launch& launch = primitive.launch;
  const Kernel kernel = custom_kernel(launch.kernel, launch.source);
  const Size grid{launch.grid[0], launch.grid[1], launch.grid[2]};
  const Size group{launch.group[0], launch.group[1], launch.group[2]};
  if (group.product() > static_cast<std::uint64_t>(kernel.max_threads()))
    fail("metal_kernel", launch.kernel, " allows ", kernel.max_threads(),
         " threads a threadgroup, got ", static_cast<std::int64_t>(group.product()));
  // Arguments refer to what these hold.
  std::vector<Tensor> tensors(inputs.begin(), inputs.end());
  std::vector<std::vector<std::int32_t>> shapes(inputs.size());
  std::vector<std::vector<std::int64_t>> strides(inputs.size());
  std::vector<std::int32_t> ndims(inputs.size());
  std::vector<Argument> arguments;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    Tensor& t = tensors[i];
    const bool misaligned = t.shape.empty() && t.offset % 4;  // for the constant address space
    if (misaligned || (launch.row_contiguous && !is_row_major(t))) {
      const Tensor dense = commands.temporary(t.shape, t.dtype);
      if (t.size()) copy(commands, t, dense);
      t = dense;
    }
    shapes[i].assign(t.shape.begin(), t.shape.end());
    strides[i].assign(t.strides.begin(), t.strides.end());
    ndims[i] = static_cast<std::int32_t>(t.shape.size());
    if (shapes[i].empty()) {  // never read, but never empty
      shapes[i].push_back(1);
      strides[i].push_back(0);
    }
    arguments.push_back(in(t));
    if (launch.inputs[i].shape) arguments.push_back(values(shapes[i]));
    if (launch.inputs[i].strides) arguments.push_back(values(strides[i]));
    if (launch.inputs[i].ndim) arguments.push_back(value(ndims[i]));
  }
  std::vector<Tensor> results;
  for (const Result& r : launch.results) {
    results.push_back(commands.temporary(r.shape, r.dtype));
    if (launch.init && results.back().size()) {
      const array initial(*launch.init, r.dtype);
      Tensor one{allocate(size_of(r.dtype)), 0, r.dtype, r.shape, Strides(r.shape.size())};
      std::memcpy(one.buffer->data(), &initial.node()->scalar, size_of(r.dtype));
      copy(commands, one, results.back());
    }
  }
  for (const Tensor& t : results) arguments.push_back(launch.init ? in_out(t) : out(t));
  commands.threads(kernel, arguments, grid, group);
  Arrays out;
  for (const Tensor& t : results) out.emplace_back(t.buffer, t.shape, t.dtype);
  return out;
}

}  // namespace metal
}  // namespace cermet
