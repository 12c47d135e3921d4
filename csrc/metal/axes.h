// What the kernels that move elements are told: layouts, the words that elements can be moved
// by, and how threads are laid out.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

#include "../../metal/arguments.h"
#include "metal/backend.h"

namespace cermet::metal {

// The axes of `t` for which keep(axis) holds.
template <class F>
Tensor select_axes(const Tensor& t, F keep) {
  Tensor part{t.buffer, t.offset, t.dtype, {}, {}};
  for (int i = 0; i < static_cast<int>(t.shape.size()); ++i) {
    if (!keep(i)) continue;
    part.shape.push_back(t.shape[i]);
    part.strides.push_back(t.strides[i]);
  }
  return part;
}

// Two tensors of one shape, walked together in elements or in words.
struct Walk {
  Shape shape;
  Strides from, to;
  std::int64_t unit;  // bytes of to's
  std::int64_t size() const { return element_count(shape); }
};
Walk in_elements(const Tensor& from, const Tensor& to);
// For tensors of one dtype: in words, the widest that alignment allows. Both tensors are also
// stepped by `steps` elements.
Walk in_words(const Tensor& from, const Tensor& to, const Strides& steps = {});
std::string word_name(std::int64_t bytes);
// The type of indices for tensors, the first of which is counted in units.
std::string index_for(std::int64_t unit, std::initializer_list<const Tensor*> tensors);

StridedAxes strided_axes(const Shape& shape, const Strides& strides);

// Threads for the elements of many blocks: x and then z count elements, y blocks.
Size block_grid(std::string_view op, std::int64_t size, std::int64_t blocks);
// A threadgroup of at most 256 threads that fits the grid.
Size group_for(Size grid);

// How elements are combined by an update other than `set`: the type they have in the kernel, where
// what wraps alike is of one type, and the combination's name in metal/types.h.
struct Combination {
  std::string type, name;
};
Combination combination_of(Dtype dtype, Update mode);

}  // namespace cermet::metal
