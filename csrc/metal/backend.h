// The GPU's backend, how it runs a primitive, and what a family of kernels is written against.
#pragma once

#include <functional>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "eval/backend.h"
#include "graph/composites.h"
#include "graph/primitives.h"
#include "metal/device.h"

namespace cermet::metal {

// An evaluated array, or one to be filled. Strides are in elements and may be zero or negative.
struct Tensor {
  Ref<Buffer> buffer;
  std::size_t offset = 0;  // in bytes, of the element at index zero
  Dtype dtype = float32;
  Shape shape;
  Strides strides;

  std::int64_t size() const { return element_count(shape); }
  // Where the element at index zero is.
  std::uintptr_t address() const {
    return reinterpret_cast<std::uintptr_t>(buffer->data()) + offset;
  }
  std::size_t nbytes() const { return static_cast<std::size_t>(size()) * size_of(dtype); }
};

// An argument of a kernel. Arguments take the slots 0, 1, ... in their order.
struct Argument {
  enum class Kind : std::uint8_t { buffer, bytes } kind;
  const Tensor* tensor = nullptr;
  Access access = Access::read;
  const void* data = nullptr;
  std::size_t size = 0;
};
inline Argument in(const Tensor& t) { return {Argument::Kind::buffer, &t, Access::read}; }
inline Argument out(const Tensor& t) { return {Argument::Kind::buffer, &t, Access::write}; }
inline Argument in_out(const Tensor& t) { return {Argument::Kind::buffer, &t, Access::read_write}; }
// A plain struct of metal/arguments.h, or a number. The kernel has it as `constant T&`.
template <class T>
Argument value(const T& v) {
  return {Argument::Kind::bytes, nullptr, Access::read, &v, sizeof v};
}
template <class T>
Argument values(const std::vector<T>& v) {
  return {Argument::Kind::bytes, nullptr, Access::read, v.data(), v.size() * sizeof(T)};
}

// A kernel by its source. It is compiled when it is first run, together with others needed then.
struct KernelSource;
struct Kernel {
  std::shared_ptr<KernelSource> source;
  // The most threads a threadgroup of it may have. Compiles it.
  int max_threads() const;
};

// The work of one stream on its way to the GPU. It orders what overlaps in memory, keeps what it
// uses alive until it has run, and commits when enough has gathered.
class Commands {
 public:
  virtual ~Commands() = default;
  // Encodes a dispatch of `grid` threads (not a multiple of `group`: the last group is smaller).
  virtual void threads(const Kernel& kernel, std::span<const Argument> arguments, Size grid,
                       Size group) = 0;
  // The same by whole threadgroups.
  virtual void groups(const Kernel& kernel, std::span<const Argument> arguments, Size groups,
                      Size group) = 0;
  void threads(const Kernel& kernel, std::initializer_list<Argument> arguments, Size grid,
               Size group) {
    threads(kernel, std::span(arguments.begin(), arguments.size()), grid, group);
  }
  void groups(const Kernel& kernel, std::initializer_list<Argument> arguments, Size groups,
              Size group) {
    this->groups(kernel, std::span(arguments.begin(), arguments.size()), groups, group);
  }
  // Adds to the estimate of what has been encoded, where bytes alone say too little: arithmetic
  // operations of a product.
  virtual void add_work(std::uint64_t operations) = 0;
  // Four zeroed words that kernels can report a failure in (a nonzero first word). When the work
  // has run, `error` makes an exception of them, which the arrays being encoded carry.
  virtual Tensor check(std::function<std::exception_ptr(const std::int64_t*)> error) = 0;
  // Memory for a result. Its bytes are undefined.
  virtual Ref<Buffer> allocate(std::size_t bytes) = 0;
  // Scratch memory for what is being encoded: row-major.
  virtual Tensor temporary(Shape shape, Dtype dtype) = 0;
};

// The kernel template `function` of metal/<family>.metal with these arguments (types and numbers as
// Metal source), compiled at its first use.
Kernel kernel(std::string_view family, std::string_view function,
              std::initializer_list<std::string> arguments = {},
              std::span<const Constant> constants = {});
// The type's name in Metal source: "float", "half", "bfloat", "complex64" (metal/types.h),
// "long"... There is none for float64.
std::string type_name(Dtype dtype);
// "int" when all elements of the tensors lie within 2^31 of their first, else "long" (for indices
// in kernels; signed, since strides may be negative).
std::string index_type(std::initializer_list<const Tensor*> tensors);
bool is_row_major(const Tensor& t);
// The axes of equal-shaped tensors with neighbours merged where every tensor's strides allow it,
// and axes of extent 1 dropped; at least one axis is left.
struct Layout {
  Shape shape;
  std::vector<Strides> strides;  // of each tensor
};
Layout collapse(std::initializer_list<const Tensor*> tensors);

// Null where there is no GPU.
std::unique_ptr<Backend> make_backend();

// Whether the GPU runs this primitive for inputs and a result of these types; what it does not runs
// on the CPU, on the same memory.
bool supports(const Node& node);
// The part of it that depends on more than types: a range of numbers that integers count exactly,
// an update that atomic operations exist for.
bool arange_supported(const Arange& primitive, Dtype dtype, std::int64_t size);
bool scatter_supported(Dtype dtype, Update mode);
// Whether it is an attention, or the gradient of one, of extents that kernels take.
bool attention_supported(const Node& composite);
bool search_supported(const Node& composite);
// Encodes a primitive that is neither a view, an elementwise operation nor a reduction. `out` is
// row-major and has memory. For scatter, out may share inputs[0]'s memory (donated, of the same
// layout): the copy is then not needed.
void run(Commands& commands, const Primitive& primitive, std::span<const Tensor> inputs,
         const Tensor& out);

// Encodes a user's kernel and gives its results.
Arrays run(Commands& commands, const GpuKernel& kernel, std::span<const Tensor> inputs);

// out = in, element by element, for equal shapes, any strides and dtypes. (copy.cpp)
void copy(Commands& commands, const Tensor& from, const Tensor& to);

// One function a family, each in a file of its own; `run` chooses.
void addmm(Commands& commands, const Addmm& primitive, std::span<const Tensor> inputs,
           const Tensor& out);
void matmul(Commands& commands, std::span<const Tensor> inputs, const Tensor& out);
void arange(Commands& commands, const Arange& primitive, const Tensor& out);
void attention(Commands& commands, const AttentionOptions& options, std::span<const Tensor> inputs,
               const Tensor& out);
void attention_gradient(Commands& commands, const AttentionOptions& options,
                        std::span<const Tensor> inputs, const Tensor& out);
void search_sorted(Commands& commands, bool right, std::span<const Tensor> inputs,
                   const Tensor& out);
void concatenate(Commands& commands, const Concatenate& primitive, std::span<const Tensor> inputs,
                 const Tensor& out);
void gather(Commands& commands, const Gather& primitive, std::span<const Tensor> inputs,
            const Tensor& out);
void scatter(Commands& commands, const Scatter& primitive, std::span<const Tensor> inputs,
             const Tensor& out);
void random_bits(Commands& commands, std::span<const Tensor> inputs, const Tensor& out);
void arg_reduce(Commands& commands, const ArgReduce& primitive, const Tensor& in,
                const Tensor& out);
void scan(Commands& commands, const Scan& primitive, const Tensor& in, const Tensor& out);
void sort(Commands& commands, const Sort& primitive, const Tensor& in, const Tensor& out);

}  // namespace cermet::metal
