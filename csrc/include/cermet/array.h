// The array: a handle on an immutable node of the lazy graph.
//
// A node either holds a value or knows how to compute one: a primitive and its inputs. Copying an
// array copies the handle.
#pragma once

#include <atomic>
#include <complex>
#include <concepts>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cermet/device.h"
#include "cermet/dtype.h"
#include "cermet/memory.h"
#include "cermet/ref.h"
#include "cermet/small_vector.h"

namespace cermet {

class Primitive;
class array;
struct Node;
class Batch;
void destroy_node(Node* node);

using Arrays = std::vector<array>;

class array {
 public:
  // A scalar: C++ floating types become float32, integers int32 (int64 when the value needs it).
  template <std::same_as<bool> T>  // a template, so that no pointer converts to bool
  array(T v) : array(static_cast<std::int64_t>(v), Dtype::bool_) {}
  array(int v);
  array(std::int64_t v);
  array(float v);
  array(double v);
  array(std::complex<float> v);
  // A scalar of the given type.
  array(double v, Dtype dtype);
  array(std::int64_t v, Dtype dtype);
  array(std::complex<float> v, Dtype dtype);
  // A vector of float32 or int32.
  array(std::initializer_list<float> values);
  array(std::initializer_list<int> values);
  // A copy of `shape`'s elements from `data`, row-major.
  template <class T>
  array(const T* data, const Shape& shape) : array(copy_of(data, shape, dtype_of<T>)) {}
  template <class T>
  array(const std::vector<T>& data, const Shape& shape) : array(data.data(), shape) {
    check_count(data.size(), shape);
  }
  // Takes a buffer that holds the elements; strides in elements, row-major when omitted.
  array(Ref<Buffer> buffer, Shape shape, Dtype dtype);
  array(Ref<Buffer> buffer, Shape shape, Dtype dtype, Strides strides, std::int64_t offset = 0);
  // A node to be computed (for primitives).
  array(Ref<const Primitive> primitive, Shape shape, Dtype dtype, SmallVector<array, 2> inputs,
        Stream stream);
  explicit array(Ref<Node> node) : node_(std::move(node)) {}

  const Shape& shape() const;
  // The extent of an axis, which may be negative; std::out_of_range otherwise.
  std::int64_t shape(int axis) const;
  int ndim() const;
  std::int64_t size() const;
  Dtype dtype() const;
  std::size_t itemsize() const { return size_of(dtype()); }
  std::size_t nbytes() const { return static_cast<std::size_t>(size()) * itemsize(); }

  // Computes the value, if that has not been done, and waits for it.
  void eval() const;
  // The only element, converted to T; std::invalid_argument unless there is exactly one.
  template <class T>
  T item() const;
  // The first element of the evaluated array, in its storage type; see strides().
  template <class T>
  const T* data() const {
    return static_cast<const T*>(raw_data());
  }
  // All elements, row-major, converted to T.
  template <class T>
  std::vector<T> to_vector() const;
  // These evaluate the array first. Strides are in elements; 0 where a broadcast repeats.
  const void* raw_data() const;
  const Strides& strides() const;
  bool is_contiguous() const;
  // True when the value is there (no waiting needed).
  bool is_available() const;

  Node* node() const { return node_.get(); }
  const Ref<Node>& ref() const { return node_; }
  const Primitive* primitive() const;
  // The inputs of a node not computed yet (or still needed by a gradient).
  const SmallVector<array, 2>& inputs() const;
  Stream stream() const;
  bool is_same(const array& other) const { return node_ == other.node_; }

 private:
  static array copy_of(const void* data, const Shape& shape, Dtype dtype);
  static void check_count(std::size_t n, const Shape& shape);
  Ref<Node> node_;
};

// The number of elements; std::invalid_argument for a negative extent, std::length_error when the
// extents other than 0 have a product beyond 63 bits of bytes: no part of a shape's product wraps.
std::int64_t element_count(const Shape& shape);
Strides row_major(const Shape& shape);
std::string to_string(const Shape& shape);
// The array as Python prints it: array([1, 2], dtype=int32). Evaluates it.
std::string to_string(const array& a);
struct PrintOptions {
  int precision = -1;  // digits after the point; -1 chooses
};
PrintOptions get_printoptions();
void set_printoptions(PrintOptions options);

// The state of a node's value.
enum class Status : std::uint8_t {
  lazy,       // to be computed from primitive and inputs
  scheduled,  // in a batch that has not finished it yet
  encoded,    // the same, and its buffer is known: the GPU fills it
  available,  // buffer, strides and offset are valid
  failed,     // batch holds the error
};

// What an array is a handle on. Shape, dtype, primitive and inputs are fixed when it is made; the
// evaluator alone writes the rest, and drops primitive and inputs once the value is there.
struct Node : RefCounted {
  Node();
  Dtype dtype = float32;
  std::atomic<Status> status{Status::lazy};
  bool constant = false;  // a scalar, in `scalar`; it keeps its primitive
  bool followed = false;  // depends on inputs of a shapeless trace, which extents must not bind
  // The scheduler's scratch space, used under its lock.
  std::uint32_t mark = 0, slot = 0;
  // The oldest and the newest trace with an input this depends on; 0: none. Gone with the graph.
  std::atomic<std::uint64_t> oldest_trace{0}, trace{0};
  Stream stream;
  Ref<const Primitive> primitive;
  SmallVector<array, 2> inputs;
  std::int64_t size = 0;
  Shape shape;
  std::uint64_t scalar = 0;  // the bits of a constant's value
  // The value.
  Ref<Buffer> buffer;
  Strides strides;
  std::int64_t offset = 0;     // in elements
  std::vector<array> outputs;  // of a primitive with several results
  std::shared_ptr<Batch> batch;

  // Graphs come and go: a thread keeps the memory of some nodes for its next ones.
  static void* operator new(std::size_t bytes);
  static void operator delete(void* node, std::size_t bytes) noexcept;
};

// Tells a shapeless trace that somebody asked for extents.
void note_extents(const Node& node);
inline const Shape& array::shape() const {
  if (node_->followed) note_extents(*node_);
  return node_->shape;
}
inline std::int64_t array::size() const {
  if (node_->followed) note_extents(*node_);
  return node_->size;
}
inline int array::ndim() const { return static_cast<int>(node_->shape.size()); }
inline Dtype array::dtype() const { return node_->dtype; }
inline const Primitive* array::primitive() const { return node_->primitive.get(); }
inline const SmallVector<array, 2>& array::inputs() const { return node_->inputs; }
inline Stream array::stream() const { return node_->stream; }

}  // namespace cermet
