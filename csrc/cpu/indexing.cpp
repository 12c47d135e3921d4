// Gather, scatter and take_along_axis.
//
// The former two turn tuples of indices into offsets of blocks: the elements over the axes that no
// index names. Out-of-range indices raise IndexError, of a scatter before anything is written.
#include <cstring>
#include <span>
#include <stdexcept>
#include <string>

#include "cermet/eval.h"
#include "cpu/layout.h"
#include "cpu/primitives.h"
#include "cpu/scalar.h"
#include "eval/interrupt.h"
#include "graph/check.h"

namespace cermet::cpu {
namespace {

constexpr std::int64_t kTaken = 16 * 1024;  // elements a piece: each may have to be waited for

// Adds index * stride of one axis to the offsets of the positions from `begin` on.
template <class I>
void add_offsets(const Primitive& p, const Tensor& index, int axis, std::int64_t extent,
                 std::int64_t stride, std::int64_t begin, std::span<std::int64_t> offsets) {
  Domain<1> domain{index.shape, {index.strides}};
  domain.collapse();
  Walk<1> walk(domain, begin);
  for (auto& offset : offsets) {
    const auto raw = static_cast<std::int64_t>(data<const I>(index)[walk.offset[0]]);
    const std::int64_t i = raw < 0 ? raw + extent : raw;
    if (i < 0 || i >= extent) throw index_error(p.name(), raw, axis, extent);
    offset += i * stride;
    walk.next();
  }
}

// What gather reads and scatter writes: `blocks` of one layout, one for each tuple of indices.
class Blocks {
 public:
  Blocks(const Primitive& p, const Tensor& a, std::span<const Tensor> indices, const Axes& axes)
      : primitive_(p), a_(a), indices_(indices), axes_(axes) {
    for (int i = 0; i < static_cast<int>(a.shape.size()); ++i) {
      if (std::find(axes.begin(), axes.end(), i) != axes.end()) continue;
      shape.push_back(a.shape[i]);
      strides.push_back(a.strides[i]);
      size *= a.shape[i];
    }
    if (!indices.empty()) positions = indices[0].shape;
    for (auto d : positions) count *= d;
  }

  // The offsets into `a` of the blocks at positions begin, begin + 1, ...
  void offsets(std::int64_t begin, std::span<std::int64_t> result) const {
    std::fill(result.begin(), result.end(), 0);
    for (std::size_t k = 0; k < axes_.size(); ++k) {
      visit(indices_[k].dtype, [&]<class I>(Type<I>) {
        if constexpr (std::is_integral_v<I>)
          add_offsets<I>(primitive_, indices_[k], axes_[k], a_.shape[axes_[k]],
                         a_.strides[axes_[k]], begin, result);
        else
          throw std::invalid_argument(std::string(primitive_.name()) +
                                      ": expected integer indices, got " +
                                      std::string(name_of(indices_[k].dtype)));
      });
    }
  }

  Shape positions, shape;  // of the indices, of a block
  Strides strides;         // of a block in `a`
  std::int64_t count = 1, size = 1;

 private:
  const Primitive& primitive_;
  const Tensor& a_;
  std::span<const Tensor> indices_;
  const Axes& axes_;
};

template <class U>
void gather_blocks(const Blocks& blocks, const U* a, U* out) {
  Domain<1> domain{blocks.shape, {blocks.strides}};
  domain.collapse();
  const auto [n, steps] = domain.pop();
  const std::int64_t runs = domain.size();
  const std::int64_t step = steps[0], size = blocks.size;
  parallel_for(blocks.count, grain_for(size), [&, n = n](std::int64_t begin, std::int64_t end) {
    std::int64_t offsets[256];
    // Blocks taken together: few, for the sake of the cache, where each writes to a line of its
    // own.
    const std::int64_t most = size == 1 ? 256 : 16;
    for (std::int64_t b = begin; b < end; b += most) {
      const std::int64_t batch = std::min(most, end - b);
      blocks.offsets(b, {offsets, static_cast<std::size_t>(batch)});
      Walk<1> walk(domain, 0);
      for (std::int64_t run = 0; run < runs; ++run, walk.next()) {
        const U* from = a + walk.offset[0];
        U* to = out + b * size + run * n;
        if (step == 1 && n > 1) {
          for (std::int64_t k = 0; k < batch; ++k)
            std::memcpy(to + k * size, from + offsets[k], static_cast<std::size_t>(n) * sizeof(U));
        } else {  // the batch innermost: neighbouring blocks share cache lines
          for (std::int64_t i = 0; i < n; ++i)
            for (std::int64_t k = 0; k < batch; ++k) to[k * size + i] = from[offsets[k] + i * step];
        }
      }
    }
  });
}

// Applies the updates in order of position. Threads share the work so that every element belongs to
// one of them: each takes a part of every block where blocks are long, else the blocks in a part
// of `out`.
template <class T, class F>
void scatter_blocks(const Blocks& blocks, std::span<const std::int64_t> offsets,
                    const Tensor& updates, const Tensor& out, F combine) {
  const std::size_t leading = blocks.positions.size();
  const Domain<1> positions{blocks.positions,
                            {Strides(updates.strides.begin(), updates.strides.begin() + leading)}};
  const Domain<2> block{
      blocks.shape,
      {blocks.strides, Strides(updates.strides.begin() + leading, updates.strides.end())}};
  const std::int64_t threads =
      blocks.count * blocks.size < kGrain ? 1 : static_cast<std::int64_t>(get_num_threads());
  const bool split_blocks = blocks.size >= 64 * threads;
  const std::int64_t whole = split_blocks ? blocks.size : out.size();
  parallel_for(whole, (whole - 1) / threads + 1, [&](std::int64_t begin, std::int64_t end) {
    Domain<2> inner = block;
    inner.collapse();
    const std::int64_t first = split_blocks ? begin : 0;
    const std::int64_t count = split_blocks ? end - begin : blocks.size;
    const auto [n, steps] = inner.pop();
    Walk<1> position(positions, 0);
    std::int64_t done = 0;
    for (const std::int64_t offset : offsets) {
      if (++done % kGrain == 0) poll_interrupt();
      if (split_blocks || (offset >= begin && offset < end)) {
        const T* update = data<const T>(updates) + position.offset[0];
        T* to = data<T>(out) + offset;
        if (blocks.size == 1) {
          *to = combine(*to, *update);
          position.next();
          continue;
        }
        Walk<2> walk(inner, first / n);
        for (std::int64_t i = first, column = first % n; i < first + count; walk.next()) {
          const std::int64_t stop = std::min(n, column + first + count - i);
          i += stop - column;
          for (; column < stop; ++column) {
            T& x = to[walk.offset[0] + column * steps[0]];
            x = combine(x, update[walk.offset[1] + column * steps[1]]);
          }
          column = 0;
        }
      }
      position.next();
    }
  });
}

// Whether all are in [0, extent): neither they nor what is left of the extent has a sign.
template <class I>
bool are_places(const I* index, std::int64_t n, std::int64_t extent) {
  using U = std::make_unsigned_t<I>;
  constexpr U kMost = ~U{} >> 1;
  const auto last =
      static_cast<U>(std::min<std::uint64_t>(static_cast<std::uint64_t>(extent - 1), kMost));
  U signs = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const auto k = static_cast<U>(index[i]);
    signs |= k | (last - k);
  }
  return signs <= kMost;
}

// to[i] = from[i * from_step + k * stride] for i < n, where k is index[i * index_step], counted
// from the end where negative; false where one is out of range.
template <class U, class I>
bool take_run(U* __restrict to, const I* __restrict index, std::int64_t index_step,
              const U* __restrict from, std::int64_t from_step, std::int64_t n, std::int64_t extent,
              std::int64_t stride) {
  if (index_step == 1 && from_step == 0 && stride == 1 && are_places(index, n, extent)) {
    for (std::int64_t i = 0; i < n; ++i) to[i] = from[index[i]];
    return true;
  }
  bool outside = false;
  for (std::int64_t i = 0; i < n; ++i) {
    auto k = static_cast<std::int64_t>(index[i * index_step]);
    k += (k >> 63) & extent;
    const bool there = static_cast<std::uint64_t>(k) < static_cast<std::uint64_t>(extent);
    outside |= !there;
    to[i] = from[i * from_step + (there ? k : 0) * stride];
  }
  return !outside;
}

}  // namespace

void take_along_axis(const TakeAlongAxis& p, const Tensor& a, const Tensor& indices,
                     const Tensor& out) {
  const int axis = p.options;
  const std::int64_t extent = a.shape[axis], stride = a.strides[axis];
  Strides others = a.strides;
  others[axis] = 0;
  const auto refuse = [&](auto index) {
    throw index_error(p.name(), static_cast<std::int64_t>(index), axis, extent);
  };
  visit(indices.dtype, [&]<class I>(Type<I>) {
    if constexpr (std::is_integral_v<I> && sizeof(I) >= 4) {
      if (extent == 0) refuse(*data<const I>(indices));
      by_size(size_of(a.dtype), [&]<class U>(Type<U>) {
        const Domain<3> domain{out.shape, {out.strides, indices.strides, others}};
        for_each_run(
            domain,
            [&](const auto& offsets, std::int64_t n, const auto& steps) {
              const I* index = data<const I>(indices) + offsets[1];
              if (take_run(data<U>(out) + offsets[0], index, steps[1],
                           data<const U>(a) + offsets[2], steps[2], n, extent, stride))
                return;
              for (; n > 0; --n, index += steps[1])
                if (const auto raw = static_cast<std::int64_t>(*index);
                    raw < -extent || raw >= extent)
                  refuse(raw);
            },
            kTaken);
      });
    }
  });
}

void gather(const Gather& p, std::span<const Tensor> inputs, const Tensor& out) {
  const Tensor& a = inputs[0];
  const Blocks blocks(p, a, inputs.subspan(1), p.axes);
  if (blocks.size > kGrain) {  // few large blocks: each is a parallel copy
    for (std::int64_t i = 0; i < blocks.count; ++i) {
      std::int64_t offset = 0;
      blocks.offsets(i, {&offset, 1});
      const auto width = static_cast<std::int64_t>(size_of(a.dtype));
      copy({a.data + offset * width, a.dtype, blocks.shape, blocks.strides},
           {out.data + i * blocks.size * width, a.dtype, blocks.shape, row_major(blocks.shape)});
    }
    return;
  }
  by_size(size_of(a.dtype),
          [&]<class U>(Type<U>) { gather_blocks(blocks, data<const U>(a), data<U>(out)); });
}

void scatter(const Scatter& p, std::span<const Tensor> inputs, const Tensor& out) {
  const Tensor& updates = inputs[1];
  const Blocks blocks(p, out, inputs.subspan(2), p.axes);
  const Workspace<std::int64_t> holder(blocks.count);
  const std::span<std::int64_t> offsets = holder.span();
  parallel_for(blocks.count, kGrain, [&](std::int64_t begin, std::int64_t end) {
    blocks.offsets(begin, offsets.subspan(begin, end - begin));
  });
  if (out.data != inputs[0].data) copy(inputs[0], out);
  if (updates.size() == 0) return;
  visit(out.dtype, [&]<class T>(Type<T>) {
    by_combination(
        p.mode, [&](auto combine) { scatter_blocks<T>(blocks, offsets, updates, out, combine); });
  });
}

}  // namespace cermet::cpu
