// Arrays and their nodes: construction, destruction and reading values.
#include "cermet/array.h"

#include <bit>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "cermet/ops.h"
#include "graph/check.h"
#include "graph/context.h"
#include "graph/layout.h"
#include "graph/primitives/creation.h"
#include "ops/cpp.h"

namespace cermet {
namespace {

template <class T>
std::uint64_t to_bits(T v) {
  std::uint64_t bits = 0;
  std::memcpy(&bits, &v, sizeof v);
  return bits;
}

// The bits of `v` as an element of `dtype`: what a cast makes of it.
template <class V>
std::uint64_t scalar_bits(V v, Dtype dtype) {
  return visit(dtype, [&]<class T>(Type<T>) {
    if constexpr (std::is_same_v<T, bool>) {
      return to_bits(v != V(0));
    } else if constexpr (std::is_same_v<V, std::complex<float>>) {
      if constexpr (std::is_same_v<T, complex64_t>) return to_bits(complex64_t{v.real(), v.imag()});
      return scalar_bits(static_cast<double>(v.real()), dtype);
    } else if constexpr (std::is_same_v<T, complex64_t>) {
      return to_bits(complex64_t{static_cast<float>(v), 0});
    } else if constexpr (std::is_same_v<T, float16_t>) {
      return to_bits(to_float16(static_cast<float>(v)));
    } else if constexpr (std::is_same_v<T, bfloat16_t>) {
      return to_bits(to_bfloat16(static_cast<float>(v)));
    } else if constexpr (std::is_integral_v<T> && std::is_floating_point_v<V>) {
      return to_bits(cpu::plain::truncated<T>(v));
    } else {
      return to_bits(static_cast<T>(v));
    }
  });
}

template <class V>
Ref<Node> make_scalar(V v, Dtype dtype) {
  auto node = make_ref<Node>();
  node->dtype = dtype;
  node->size = 1;
  node->constant = true;
  node->primitive = the<Constant>();
  node->scalar = scalar_bits(v, dtype);
  return node;
}

Ref<Node> make_value(Ref<Buffer> buffer, Shape shape, Dtype dtype, Strides strides,
                     std::int64_t offset) {
  auto node = make_ref<Node>();
  node->dtype = dtype;
  node->size = element_count(shape);
  node->shape = std::move(shape);
  node->strides = std::move(strides);
  node->offset = offset;
  node->buffer = std::move(buffer);
  node->status.store(Status::available, std::memory_order_release);
  return node;
}

// A node depends on the traces that its inputs depend on.
void note_traces(Node& node, const Node& in) {
  constexpr auto relaxed = std::memory_order_relaxed;
  const std::uint64_t newest = in.trace.load(relaxed);
  if (newest == 0) return;
  node.followed |= in.followed;
  const std::uint64_t oldest = in.oldest_trace.load(relaxed), known = node.trace.load(relaxed);
  node.oldest_trace.store(known ? std::min(node.oldest_trace.load(relaxed), oldest) : oldest,
                          relaxed);
  node.trace.store(std::max(known, newest), relaxed);
}

bool fits_int32(std::int64_t v) { return v >= INT32_MIN && v <= INT32_MAX; }

template <class T>
array vector_of(std::initializer_list<T> values) {
  return array(std::data(values), Shape{static_cast<std::int64_t>(values.size())});
}

}  // namespace

Buffer::~Buffer() {
  if (give_back_) {
    context::give_back(*this);
    give_back_();
  } else {
    context::release(data_, capacity_);
  }
}
Ref<Buffer> borrow(const void* data, std::size_t bytes, std::function<void()> give_back) {
  if (!give_back) give_back = [] {};
  return Ref<Buffer>(new Buffer(const_cast<void*>(data), bytes, 0, std::move(give_back)));
}

namespace {

// The memory of nodes that a thread keeps: until it ends, or holds enough.
struct Kept {
#if defined(__SANITIZE_ADDRESS__)
  static constexpr std::uint32_t kMost = 0;  // it sees each node go
#else
  static constexpr std::uint32_t kMost = 4096;
#endif
  struct Block {
    Block* next;
  };
  Block* top;
  std::uint32_t count;
};
constinit thread_local Kept kept{nullptr, 0};
// What the thread keeps goes with it, and nothing is kept from then on.
struct AtThreadsEnd {
  ~AtThreadsEnd() {
    while (Kept::Block* block = kept.top) {
      kept.top = block->next;
      ::operator delete(block);
    }
    kept.count = Kept::kMost;
  }
  void arm() {}
};
thread_local AtThreadsEnd at_threads_end;

}  // namespace

Node::Node() {}  // a default one sets everything to zero before it does anything

void* Node::operator new(std::size_t bytes) {
  Kept::Block* const block = kept.top;
  if (!block) return ::operator new(bytes);
  kept.top = block->next;
  --kept.count;
  return block;
}
void Node::operator delete(void* node, std::size_t) noexcept {
  if (kept.count == Kept::kMost) return ::operator delete(node);
  if (kept.count == 0) at_threads_end.arm();
  kept.top = ::new (node) Kept::Block{kept.top};
  ++kept.count;
}

// Destruction is iterative: a node whose last reference goes while another is being destroyed on
// this thread waits in that one's list, so a long chain does not overflow the stack. `scalar`,
// which nobody reads any more, links the list.
void destroy_node(Node* node) {
  thread_local Node* waiting = nullptr;
  thread_local bool destroying = false;
  node->scalar = reinterpret_cast<std::uintptr_t>(std::exchange(waiting, node));
  if (std::exchange(destroying, true)) return;
  while (Node* next = waiting) {
    waiting = reinterpret_cast<Node*>(static_cast<std::uintptr_t>(next->scalar));
    delete next;
  }
  destroying = false;
}

array::array(int v) : array(static_cast<std::int64_t>(v)) {}
array::array(std::int64_t v) : node_(make_scalar(v, fits_int32(v) ? int32 : int64)) {}
array::array(float v) : array(static_cast<double>(v)) {}
array::array(double v) : node_(make_scalar(v, float32)) {}
array::array(std::complex<float> v) : node_(make_scalar(v, complex64)) {}
array::array(double v, Dtype dtype) : node_(make_scalar(v, dtype)) {}
array::array(std::int64_t v, Dtype dtype) : node_(make_scalar(v, dtype)) {}
array::array(std::complex<float> v, Dtype dtype) : node_(make_scalar(v, dtype)) {}
array::array(std::initializer_list<float> values) : array(vector_of(values)) {}
array::array(std::initializer_list<int> values) : array(vector_of(values)) {}

array::array(Ref<Buffer> buffer, Shape shape, Dtype dtype) {
  Strides strides = row_major(shape);
  node_ = make_value(std::move(buffer), std::move(shape), dtype, std::move(strides), 0);
}
array::array(Ref<Buffer> buffer, Shape shape, Dtype dtype, Strides strides, std::int64_t offset)
    : node_(make_value(std::move(buffer), std::move(shape), dtype, std::move(strides), offset)) {}

array::array(Ref<const Primitive> primitive, Shape shape, Dtype dtype, SmallVector<array, 2> inputs,
             Stream stream)
    : node_(make_ref<Node>()) {
  node_->dtype = dtype;
  node_->size = count_of(primitive->name(), shape);
  node_->shape = std::move(shape);
  node_->stream = stream;
  for (const array& in : inputs) note_traces(*node_, *in.node());
  node_->primitive = std::move(primitive);
  node_->inputs = std::move(inputs);
}

array array::copy_of(const void* data, const Shape& shape, Dtype dtype) {
  const auto bytes = static_cast<std::size_t>(element_count(shape)) * size_of(dtype);
  Ref<Buffer> buffer = context::allocate(bytes);
  if (bytes) std::memcpy(buffer->data(), data, bytes);
  return array(std::move(buffer), shape, dtype);
}

void array::check_count(std::size_t n, const Shape& shape) {
  if (static_cast<std::int64_t>(n) != element_count(shape))
    throw std::invalid_argument("array: " + std::to_string(n) + " elements cannot fill shape " +
                                to_string(shape));
}

std::int64_t array::shape(int axis) const { return shape()[normalize_axis("shape", axis, ndim())]; }

bool array::is_available() const {
  return node_->status.load(std::memory_order_acquire) == Status::available;
}

void array::eval() const {
  if (!is_available()) context::evaluate({*this});
}

const void* array::raw_data() const {
  eval();
  return static_cast<const std::byte*>(node_->buffer->data()) + node_->offset * itemsize();
}

const Strides& array::strides() const {
  eval();
  return node_->strides;
}

bool array::is_contiguous() const { return is_row_major(shape(), strides()); }

namespace {

template <class T>
T convert(const void* p, Dtype dtype) {
  return visit(dtype, [&]<class S>(Type<S>) -> T {
    S v;
    std::memcpy(&v, p, sizeof v);
    if constexpr (std::is_same_v<T, std::complex<float>>) {
      if constexpr (std::is_same_v<S, complex64_t>)
        return {v.re, v.im};
      else
        return {convert<float>(p, dtype), 0};
    } else if constexpr (std::is_same_v<S, complex64_t>) {
      return static_cast<T>(v.re);
    } else if constexpr (std::is_same_v<S, float16_t> || std::is_same_v<S, bfloat16_t>) {
      return static_cast<T>(to_float(v));
    } else {
      return static_cast<T>(v);
    }
  });
}

}  // namespace

std::optional<double> known_value(const array& a) {
  if (!a.node()->constant) return std::nullopt;
  return convert<double>(&a.node()->scalar, a.dtype());
}

template <class T>
T array::item() const {
  if (size() != 1)
    throw std::invalid_argument("item: the array has shape " + to_string(shape()) +
                                ", exactly one element is needed");
  return convert<T>(raw_data(), dtype());
}

template <class T>
std::vector<T> array::to_vector() const {
  const array a = contiguous(*this);
  const auto* p = static_cast<const std::byte*>(a.raw_data());
  std::vector<T> out(static_cast<std::size_t>(size()));
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = convert<T>(p + i * itemsize(), dtype());
  return out;
}

#define CERMET_INSTANTIATE(T)        \
  template T array::item<T>() const; \
  template std::vector<T> array::to_vector<T>() const;
CERMET_INSTANTIATE(bool)
CERMET_INSTANTIATE(int)
CERMET_INSTANTIATE(std::uint32_t)
CERMET_INSTANTIATE(std::int64_t)
CERMET_INSTANTIATE(std::uint64_t)
CERMET_INSTANTIATE(float)
CERMET_INSTANTIATE(double)
CERMET_INSTANTIATE(std::complex<float>)
#undef CERMET_INSTANTIATE

std::int64_t element_count(const Shape& shape) {
  std::int64_t n = 1;
  bool overflow = false, empty = false;
  for (const std::int64_t d : shape) {
    if (d < 0) throw std::invalid_argument("shape " + to_string(shape) + ": negative extent");
    empty |= d == 0;
    overflow |= d > 0 && (__builtin_mul_overflow(n, d, &n) || n > INT64_MAX / 16);
  }
  if (overflow)
    throw std::length_error("shape " + to_string(shape) + " has more bytes than 63 bits count");
  return empty ? 0 : n;
}

Strides row_major(const Shape& shape) {
  Strides strides(shape.size());
  std::uint64_t step = 1;  // unsigned: the shape may be one that is refused for its size
  for (int i = static_cast<int>(shape.size()) - 1; i >= 0; --i) {
    strides[i] = static_cast<std::int64_t>(step);
    step *= static_cast<std::uint64_t>(shape[i]);
  }
  return strides;
}

std::string to_string(const Shape& shape) {
  std::string s = "(";
  for (std::size_t i = 0; i < shape.size(); ++i) s += (i ? ", " : "") + std::to_string(shape[i]);
  return s + (shape.size() == 1 ? ",)" : ")");
}

}  // namespace cermet
