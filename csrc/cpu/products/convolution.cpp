// Convolutions as products: their windows are rows, read where they lie in the input; depth are the
// taps and channels of a group.
//
// What is summed in which order follows from the kernel's extents, channels and types: units by
// ascending depth in even blocks, and blocks ascending.
#include "cpu/products/convolution.h"

#include <algorithm>
#include <utility>

#include "cermet/eval.h"
#include "cpu/half.h"
#include "cpu/products/nest.h"
#include "cpu/scalar.h"

namespace cermet::cpu {
namespace {

// Of a piece: what its rows and sums need fits the cache, or is read in place.
constexpr std::int64_t kMostRows = 480, kMostRowsInPlace = 960, kMostColumns = 512;
// Where taps are read in place the sums over all of them stay in registers, if they may.
constexpr std::int64_t kDeepBlock = kMostSegment / 4, kMostDeepColumns = 128;
constexpr std::int64_t kShortRun = 8;    // units: rows of shorter runs are put together
constexpr std::int64_t kTileDepth = 16;  // units that a kernel of tiles adds together
constexpr std::int64_t kLongTap = 32;    // units: longer ones need not be joined

// A product of the windows of one phase.
template <class Sum>
class WindowProduct {
 public:
  WindowProduct(const Problem& p, const Method& m, const Phases& axes)
      : p_(p),
        method_(m),
        axes_(axes),
        size_(static_cast<std::int64_t>(size_of(p.x.dtype))),
        numbers_(m.kernel->numbers),
        panel_(m.kernel->columns),
        aligned_(p.channels % numbers_ == 0),
        by_rows_(!aligned_ && p.groups == 1 && axes[2].tap_step == 1 && taps_adjoin(2, p.channels)),
        deep_(aligned_ && m.in_place && p.channels >= kLongTap * numbers_),
        windows_(p.x, axes, p.channels, (aligned_ && !deep_) || by_rows_),
        tap_(by_rows_ ? windows_.run() : p.channels),
        tap_units_(ceil_div(tap_, numbers_)),
        run_units_(ceil_div(windows_.run(), numbers_)),
        units_(axes[0].taps * axes[1].taps * (by_rows_ ? 1 : axes[2].taps) * tap_units_),
        // Tiles count from where a segment begins, which may not depend on how x lies.
        gathers_(!m.in_place || !aligned_ || run_units_ < kShortRun ||
                 (m.kernel->by_rows && !deep_ && tap_units_ % kTileDepth != 0)),
        weight_run_(weight_run()),
        few_(!m.kernel->by_rows && p.outs <= kFewColumns &&
             tap_ % (m.kernel->columns / 2 * numbers_) == 0) {
    constexpr std::int64_t kWidth = sizeof(Sum) / sizeof(float);
    depth_ = deep_ ? kDeepBlock / kWidth : kBlockDepth;
    depth_ = round_up(even_part(std::max<std::int64_t>(1, units_), depth_), kLongTap);
    rounds_ = m.round && units_ > 0 && units_ <= depth_ && !few_;
    const bool in_place = deep_ || (!gathers_ && size_ == 4);
    rows_ = std::min(windows_.count(), in_place ? kMostRowsInPlace : kMostRows / kWidth);
    columns_ = std::min(p.outs, deep_        ? kMostDeepColumns
                                : size_ == 4 ? kMostColumns
                                             : kMostColumns / 2);
    const std::int64_t tile = method_.kernel->rows, threads = get_num_threads();
    const auto cut = [&] {
      down_ = ceil_div(windows_.count(), rows_), across_ = ceil_div(p.outs, columns_);
    };
    for (cut(); down_ * across_ * p.groups < 2 * threads && work() > 2 * kLeastWork; cut()) {
      const bool can_rows = rows_ >= 4 * tile, can_columns = columns_ >= 2 * panel_;
      if (!can_rows && !can_columns) break;
      if (can_rows && (!can_columns || rows_ >= columns_))
        rows_ = round_up(ceil_div(rows_, 2), tile);
      else
        columns_ = round_up(ceil_div(columns_, 2), panel_);
    }
    // As many for each thread.
    if (down_ * across_ * p.groups > threads && across_ * p.groups % threads != 0)
      down_ = round_up(down_, threads);
    rows_ = std::min(rows_, round_up(ceil_div(windows_.count(), down_), tile));
    cut();
  }

  void run() const {
    const auto grain = static_cast<std::int64_t>(1 + kLeastWork / std::max(1.0, work()));
    parallel_for(down_ * across_ * p_.groups, grain, [&](std::int64_t begin, std::int64_t end) {
      const Memory memory(*this);
      for (; begin < end; ++begin) compute(begin, memory);
    });
  }

 private:
  std::int64_t row_units() const { return depth_ + kPad<Sum>; }
  double work() const {
    return static_cast<double>(rows_) * static_cast<double>(columns_) *
           static_cast<double>(units_ * numbers_);
  }
  bool narrows() const { return size_ == 2 && !rounds_; }
  std::int64_t most_segments() const {
    return gathers_ ? 1 : std::min(depth_, units_) / run_units_ + 2;
  }

  // What a thread needs: panels of the weight, rows put together, sums that will be narrowed.
  struct Memory {
    explicit Memory(const WindowProduct& w)
        : panels(round_up(w.columns_, w.panel_) / w.panel_ * (w.panel_ * w.depth_ + kPad<Sum>)),
          rows(w.gathers_ ? w.rows_ * w.row_units() : 0),
          lines(w.by_rows_ && !w.few_ ? w.columns_ * w.depth_ : 0),
          sums(w.narrows() ? w.rows_ * w.columns_ : 0),
          partial(w.windows_.copies() ? w.rows_ * w.depth_ * w.numbers_ * w.size_ : 0),
          pointers(w.rows_ * (w.most_segments() + 1)) {}
    const Workspace<Sum> panels, rows, lines, sums;
    const Workspace<std::byte> partial;
    const Workspace<void*> pointers;
    mutable std::int64_t packed = -1;  // which piece's weight the panels have, if it is whole
  };

  // Whether the weight has taps along an axis side by side, of so many numbers each.
  bool taps_adjoin(std::size_t axis, std::int64_t numbers) const {
    const Phase& p = axes_[axis];
    return p_.kernel.channel == 1 &&
           (p.taps == 1 || (!p_.kernel.flip && p_.kernel.taps[axis] * p.tap_stride == numbers));
  }
  // How many units of the weight lie side by side along the depth.
  std::int64_t weight_run() const {
    if (!aligned_) return tap_units_;
    std::int64_t run = p_.channels;
    for (std::size_t i = 3; i-- > 0 && taps_adjoin(i, run);) run *= axes_[i].taps;
    return run / numbers_;
  }
  // Where unit u of the weight is.
  std::int64_t weight_at(std::int64_t u) const {
    std::int64_t tap = u / tap_units_, at = u % tap_units_ * numbers_ * p_.kernel.channel;
    if (by_rows_) at += p_.kernel.place(2, axes_[2], 0);
    for (std::size_t i = by_rows_ ? 2 : 3; i-- > 0; tap /= axes_[i].taps)
      at += p_.kernel.place(i, axes_[i], tap % axes_[i].taps);
    return at;
  }
  // Calls f(i, place) for the places of windows row + i in the output, counted by places.
  template <class F>
  void each_place(std::int64_t row, std::int64_t rows, F&& f) const {
    const auto& [deep, high, wide] = axes_;
    std::int64_t w = row % wide.outs, line = row / wide.outs;
    for (std::int64_t i = 0; i < rows; w = 0, ++line) {
      const std::int64_t h = line % high.outs, d = line / high.outs % deep.outs;
      const std::int64_t n = line / high.outs / deep.outs;
      const std::int64_t at =
          ((n * p_.space[0] + deep.first_out + d * deep.out_step) * p_.space[1] + high.first_out +
           h * high.out_step) *
              p_.space[2] +
          wide.first_out;
      for (; w < wide.outs && i < rows; ++w) f(i++, at + w * wide.out_step);
    }
  }

  void compute(std::int64_t i, const Memory& memory) const {
    const std::int64_t group = i / (down_ * across_), part = i % (down_ * across_);
    const std::int64_t row = part % down_ * rows_, column = part / down_ * columns_;
    const std::int64_t rows = std::min(rows_, windows_.count() - row);
    const std::int64_t columns = std::min(columns_, p_.outs - column);
    std::byte* const out = p_.out.data + (group * p_.outs + column) * size_;
    const std::int64_t step = p_.groups * p_.outs * size_;
    void** const c = memory.pointers.get();
    each_place(row, rows, [&](std::int64_t r, std::int64_t at) {
      c[r] = narrows() ? static_cast<void*>(memory.sums.get() + r * columns) : out + at * step;
    });
    const std::int64_t c_bytes = columns * static_cast<std::int64_t>(sizeof(Sum));
    for (std::int64_t r = 0; units_ == 0 && r < rows; ++r)
      std::memset(c[r], 0, static_cast<std::size_t>(c_bytes));

    const void** const pointers = const_cast<const void**>(c) + rows;
    for (std::int64_t u = 0; u < units_; u += depth_) {
      const std::int64_t depth = std::min(depth_, units_ - u);
      std::int64_t lengths[kDeepBlock + 2],
          segments = point(group, row, rows, u, depth, memory, pointers, lengths);
      const std::int64_t step = panel_ * depth + kPad<Sum>;
      if (const std::int64_t wanted = units_ > depth_ ? -1 : i / down_;
          wanted < 0 || wanted != std::exchange(memory.packed, wanted))
        pack_weight(group, column, columns, u, depth, few_ ? depth : step, memory);
      RowBlock block{pointers, rows, rows,    segments, lengths, memory.panels.get(),
                     c,        0,    columns, u > 0,    depth};
      if (few_) {
        method_.multiply_few(block);
        continue;
      }
      for (std::int64_t j = 0; j < columns; j += panel_) {
        block.b = memory.panels.get() + j / panel_ * step;
        block.column = j, block.columns = std::min(panel_, columns - j);
        (rounds_ ? method_.round : method_.multiply)(block);
      }
    }
    if (!narrows()) return;
    each_place(row, rows, [&](std::int64_t r, std::int64_t at) {
      const float* const from = static_cast<const float*>(c[r]);
      if (p_.out.dtype == float16)
        CERMET_DISPATCH(from_floats(from, reinterpret_cast<float16_t*>(out + at * step), columns));
      else
        CERMET_DISPATCH(from_floats(from, reinterpret_cast<bfloat16_t*>(out + at * step), columns));
    });
  }

  // Units [u, u + depth) of the windows, in segments.
  std::int64_t point(std::int64_t group, std::int64_t row, std::int64_t rows, std::int64_t u,
                     std::int64_t depth, const Memory& memory, const void** pointers,
                     std::int64_t* lengths) const {
    std::int64_t segments = 0;
    for (std::int64_t done = 0; done < depth; ++segments) {
      const std::int64_t run = (u + done) / run_units_, first = (u + done) % run_units_;
      const std::int64_t count = std::min(run_units_ - first, depth - done);
      const std::int64_t numbers = std::min(count * numbers_, windows_.run() - first * numbers_);
      const void** const to = pointers + (gathers_ ? 0 : segments * rows);
      windows_.point(group * p_.channels, row, rows, run, first * numbers_, numbers,
                     memory.partial.get() + done * numbers_ * rows * size_, to);
      if (gathers_)
        window_kernels().copy[static_cast<int>(method_.packing)](
            {to, rows, numbers, memory.rows.get() + done, row_units()});
      lengths[segments] = count;
      done += count;
    }
    if (!gathers_) return segments;
    for (std::int64_t r = 0; r < rows; ++r) pointers[r] = memory.rows.get() + r * row_units();
    lengths[0] = depth;
    return 1;
  }

  // Into panels, or for few columns into rows by depth.
  void pack_weight(std::int64_t group, std::int64_t column, std::int64_t width, std::int64_t u,
                   std::int64_t depth, std::int64_t step, const Memory& memory) const {
    const auto packing = static_cast<int>(method_.packing);
    Sum* const panels = memory.panels.get();
    Sum* const lines = few_ ? panels : memory.lines.get();
    for (std::int64_t done = 0; done < depth;) {
      const std::int64_t first = (u + done) % weight_run_;
      const std::int64_t count = std::min(weight_run_ - first, depth - done);
      const std::int64_t numbers =
          aligned_ ? count * numbers_ : std::min(count * numbers_, tap_ - first * numbers_);
      const std::byte* const data =
          p_.kernel.data +
          (group * p_.kernel.group + column * p_.kernel.out + weight_at(u + done)) * size_;
      const Strip strip{data, p_.kernel.out, p_.kernel.channel, width, numbers, p_.outs - column};
      for (std::int64_t w = 0; by_rows_ && w < width; ++w) {  // short ones become units first
        const void* const line = data + w * p_.kernel.out * size_;
        window_kernels().copy[packing]({&line, 1, numbers, lines + w * depth + done, depth});
      }
      if (!by_rows_ && few_) product_kernels().rows[packing](strip, step, panels + done);
      if (!by_rows_ && !few_)
        product_kernels().panels[packing](strip, panel_, step, panels + done * panel_);
      done += count;
    }
    if (!by_rows_ || few_) return;
    product_kernels().panels[packing]({lines, depth * numbers_, 1, width, depth * numbers_, width},
                                      panel_, step, panels);
  }

  const Problem& p_;
  const Method& method_;
  const Phases& axes_;
  const std::int64_t size_, numbers_, panel_;
  const bool aligned_;  // a tap's channels are whole units
  const bool by_rows_;  // else those of a row of taps are put together
  const bool deep_;     // a tap's channels are read in place and are many
  const Windows windows_;
  const std::int64_t tap_, tap_units_, run_units_, units_;
  const bool gathers_;
  const std::int64_t weight_run_;
  const bool few_;  // columns: vectors go along the depth
  bool rounds_;     // sums are whole and stored as elements
  std::int64_t depth_, rows_, columns_, down_, across_;
};

template <class Values>
std::array<std::int64_t, 3> space_of(const Values& values, std::int64_t missing) {
  std::array<std::int64_t, 3> space{missing, missing, missing};
  std::copy(values.begin() + 1, values.end() - 1,
            space.end() - (values.end() - values.begin()) + 2);
  return space;
}

bool by_channels(const Shape& weight, int groups) {
  return groups > 1 && weight.back() == 1 && weight[0] == groups;
}

void convolve(const Tensor& x, const Tensor& w, const std::vector<Along>& axes, int groups,
              bool flip, bool transposed, const Tensor& out) {
  std::optional<Scratch> holder;
  const std::int64_t outs = w.shape[0] / groups, channels = w.shape.back();
  Kernel kernel{w.data,
                outs * w.strides[0],
                w.strides[0],
                w.strides.back(),
                space_of(w.shape, 1),
                space_of(w.strides, 0),
                flip};
  if (transposed) std::swap(kernel.out, kernel.channel);
  Problem p{with_channels(x, holder),
            kernel,
            out,
            axes,
            space_of(out.shape, 1),
            groups,
            transposed ? outs : channels,
            transposed ? channels : outs};
  if (by_channels(w.shape, groups)) return convolve_channels(p);
  const Method method = method_of(out.dtype);
  // Where windows' rows are units, they are so in any layout of x.
  if (p.channels % method.kernel->numbers != 0) p.x = dense(p.x, holder);
  for (const Phases& phases : phases_of(axes)) {
    if (out.dtype == float64)
      WindowProduct<double>(p, method, phases).run();
    else
      WindowProduct<float>(p, method, phases).run();
  }
}

std::vector<Along> gradient_axes(std::vector<Along> axes) {
  for (Along& a : axes) a = a.gradient();
  return axes;
}

bool any(const std::vector<Along>& axes, std::int64_t Along::* option) {
  return std::any_of(axes.begin(), axes.end(), [&](const Along& a) { return a.*option > 1; });
}

}  // namespace

Packing vector_packing(Dtype t) {
  return t == float64    ? Packing::f64
         : t == float16  ? Packing::f16
         : t == bfloat16 ? Packing::bf16
                         : Packing::f32;
}

Tensor with_channels(const Tensor& x, std::optional<Scratch>& holder) {
  return x.strides.back() == 1 || x.shape.back() == 1 ? x : dense(x, holder);
}

std::array<std::int64_t, 4> strides_of(const Tensor& x) {
  std::array<std::int64_t, 4> strides{};
  strides[0] = x.strides[0];
  std::copy(x.strides.begin() + 1, x.strides.end() - 1,
            strides.end() - static_cast<std::ptrdiff_t>(x.strides.size()) + 2);
  return strides;
}

Method method_of(Dtype type) {
  const ProductKernels& p = product_kernels();
  const WindowKernels& w = window_kernels();
  switch (type) {
    case float64: return {Packing::f64, &p.f64, w.multiply_f64, nullptr, w.few_f64, true};
    case float16: return {Packing::f16, &p.f32, w.multiply_f32, nullptr, w.few_f32, false};
    case bfloat16:
      if (w.multiply_pairs)
        return {Packing::bf16_pairs, &p.bf16_pairs, w.multiply_pairs,
                w.round_pairs,       w.few_pairs,   true};
      return {Packing::bf16, &p.f32, w.multiply_f32, nullptr, w.few_f32, false};
    default: return {Packing::f32, &p.f32, w.multiply_f32, nullptr, w.few_f32, true};
  }
}

bool takes_convolution(const Node& node) {
  const auto takes = [&](const ConvOptions& o, const Shape& weight) {
    // Other groups of one channel are sums of few products in a row program.
    return is_inexact(node.dtype) && node.dtype != complex64 &&
           (o.groups == 1 || weight.back() > 1 || weight[0] == o.groups);
  };
  const Primitive* const p = node.primitive.get();
  if (const auto* c = dynamic_cast<const Convolution*>(p))
    return takes(c->options, node.inputs[1].shape());
  if (const auto* c = dynamic_cast<const ConvolutionInputGradient*>(p))
    return takes(c->options.forward, node.inputs[1].shape());
  const auto* const c = dynamic_cast<const ConvolutionWeightGradient*>(p);
  if (!c) return false;
  const std::vector<Along> axes =
      spatial_axes(c->name(), node.inputs[0].shape(), node.shape, c->options.forward);
  return takes(c->options.forward, node.shape) &&
         !(any(axes, &Along::stride) && any(axes, &Along::input_dilation));
}

void convolution(const Primitive& primitive, std::span<const Tensor> inputs, const Tensor& out) {
  const Primitive* const p = &primitive;
  const Tensor &a = inputs[0], &b = inputs[1];
  if (const auto* c = dynamic_cast<const Convolution*>(p))
    return convolve(a, b, spatial_axes(c->name(), a.shape, b.shape, c->options), c->options.groups,
                    c->options.flip, false, out);
  if (const auto* c = dynamic_cast<const ConvolutionInputGradient*>(p)) {
    const ConvOptions& o = c->options.forward;
    return convolve(a, b, gradient_axes(spatial_axes(c->name(), out.shape, b.shape, o)), o.groups,
                    !o.flip, true, out);
  }
  const auto& c = dynamic_cast<const ConvolutionWeightGradient&>(*p);
  const ConvOptions& o = c.options.forward;
  const std::vector<Along> axes = spatial_axes(c.name(), a.shape, out.shape, o);
  const bool swap = any(axes, &Along::input_dilation);
  const Tensor &x = swap ? b : a, &g = swap ? a : b;
  const std::vector<Along> used = swap ? gradient_axes(axes) : axes;
  std::optional<Scratch> holders[2];
  if (x.size() == 0 || g.size() == 0)
    std::fill_n(out.data, out.size() * static_cast<std::int64_t>(size_of(out.dtype)), std::byte{});
  else if (by_channels(out.shape, o.groups))
    channel_weights(with_channels(x, holders[0]), with_channels(g, holders[1]), used,
                    o.flip != swap, out);
  else
    multiply_by_windows({with_channels(x, holders[0]), dense(g, holders[1]), out, used, o.groups,
                         o.flip != swap, swap});
}

}  // namespace cermet::cpu
