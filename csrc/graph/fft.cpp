// Fourier transforms: the primitive's rules, transforms along several axes, and frames of signals.
#include "cermet/fft.h"

#include <cmath>
#include <numeric>

#include "graph/check.h"
#include "graph/follow.h"
#include "graph/rules.h"

namespace cermet {

// ---- The primitive ----

std::int64_t Fft::points(const Shape& input) const {
  const std::int64_t n = input[axis];
  return type == Type::half ? 2 * (n - 1) + odd : n;
}
Shape Fft::result(Shape input) const {
  auto& n = input[axis];
  n = type == Type::real ? n / 2 + 1 : points(input);
  return input;
}
double Fft::factor(std::int64_t points) const {
  const auto n = static_cast<double>(points);
  return divisor == Divisor::one ? 1 : 1 / (divisor == Divisor::root ? std::sqrt(n) : n);
}
std::string Fft::parameters() const {
  constexpr std::string_view divisors[] = {"", ", over the root of n", ", over n"};
  return "axis=" + std::to_string(axis) + (odd ? ", n is odd" : "") +
         std::string(divisors[static_cast<int>(divisor)]);
}
Shape Fft::output_shape(const Node&, std::span<const array> inputs) const {
  if (points(inputs[0].shape()) < 1) refuse_shapes(*this, inputs);
  return result(inputs[0].shape());
}

namespace {

array transformed(const array& a, const Fft& p, StreamOrDevice s = {}) {
  return array(make_ref<const Fft>(p.type, p.axis, p.inverse, p.odd, p.divisor),
               p.result(rule_shape(a)), p.type == Fft::Type::half ? float32 : complex64, {a},
               s.resolve());
}

// Twice the frequencies of a half that stand for their mirror images as well, or half of them.
array weighted(const array& a, const Fft& p, std::int64_t points, float others) {
  Shape shape(a.shape().size(), 1);
  const std::int64_t n = shape[p.axis] = a.shape(p.axis);
  const array k = reshape(arange(n), shape);
  array single = k == 0.0;
  if (points % 2 == 0) single = logical_or(single, k == static_cast<double>(n - 1));
  return a * select(single, array(1.0f), array(others));
}

}  // namespace

array Fft::vjp(const Edge& e, const array& cotangent) const {
  const std::int64_t n = points(e.inputs[0].shape());
  switch (type) {
    case Type::real:
      return transformed(weighted(cotangent, *this, n, 0.5f),
                         {Type::half, axis, true, n % 2 != 0, divisor});
    case Type::half:
      return weighted(transformed(cotangent, {Type::real, axis, false, false, divisor}), *this, n,
                      2.0f);
    default: return transformed(cotangent, {type, axis, !inverse, odd, divisor});
  }
}
array Fft::jvp(const Edge&, const array& tangent) const { return transformed(tangent, *this); }
array Fft::vmap(const Batched& in, const array& output) const {
  return transformed(in.inputs[0], {type, axis + 1, inverse, odd, divisor}, output.stream());
}

// ---- Transforms along axes ----

namespace fft {
namespace {

using Type = Fft::Type;

Fft::Divisor divisor_of(Norm norm, bool inverse) {
  if (norm == Norm::ortho) return Fft::Divisor::root;
  return (norm == Norm::forward) != inverse ? Fft::Divisor::count : Fft::Divisor::one;
}

array resized(const array& a, int axis, std::int64_t extent, StreamOrDevice s) {
  const std::int64_t now = a.shape(axis);
  if (extent <= now) return extent == now ? a : section(a, axis, 0, extent, 1, s);
  std::vector<std::pair<std::int64_t, std::int64_t>> widths(a.shape().size());
  widths[static_cast<std::size_t>(axis)].second = extent - now;
  return pad(a, widths, scalar_like(0, a), "constant", s);
}

// `lengths` of all `axes` in their order.
array along(std::string_view op, const array& a, Type type, bool inverse, const Axes& axes,
            const OptionalShape& lengths, Norm norm, StreamOrDevice s) {
  if (lengths && lengths->size() != axes.size())
    fail(op, static_cast<std::int64_t>(lengths->size()), " lengths for axes ", axes);
  array out = astype(a, type == Type::real ? float32 : complex64, s);
  const auto once = [&](std::size_t i, Type t) {
    const int axis = axes[i];
    const std::int64_t extent = a.shape(axis);
    const std::int64_t n = lengths ? (*lengths)[i] : t == Type::half ? 2 * (extent - 1) : extent;
    if (n < 1)
      fail(op, "axis ", axis, " of ", a.shape(), " gives ", n, " points, expected 1 or more");
    const Fft p(t, axis, inverse, t == Type::half && n % 2 != 0, divisor_of(norm, inverse));
    out = transformed(resized(out, axis, t == Type::half ? n / 2 + 1 : n, s), p, s);
  };
  // The last one is that of real numbers: the first one forwards, the last one back.
  for (std::size_t i = axes.size(); type != Type::half && i-- > 0;)
    once(i, i + 1 == axes.size() ? type : Type::complex);
  for (std::size_t i = 0; type == Type::half && i < axes.size(); ++i)
    once(i, i + 1 == axes.size() ? type : Type::complex);
  return out;
}

array along_one(std::string_view op, const array& a, Type type, bool inverse,
                std::optional<std::int64_t> n, int axis, Norm norm, StreamOrDevice s) {
  return along(op, a, type, inverse, {normalize_axis(op, axis, a.ndim())},
               n ? OptionalShape(Shape{*n}) : std::nullopt, norm, s);
}

array along_all(std::string_view op, const array& a, Type type, bool inverse,
                const OptionalShape& shape, const OptionalAxes& axes, Norm norm, StreamOrDevice s) {
  static_cast<void>(normalize_axes(op, axes, a.ndim()));  // repeats
  if (a.ndim() == 0) fail(op, "the input has no axis");
  if (shape && !axes) fail(op, "lengths are given without their axes");
  Axes order(static_cast<std::size_t>(axes ? axes->size() : a.shape().size()));
  std::iota(order.begin(), order.end(), 0);
  for (int& axis : order)
    if (axes) axis = normalize_axis(op, (*axes)[static_cast<std::size_t>(axis)], a.ndim());
  return order.empty() ? a : along(op, a, type, inverse, order, shape, norm, s);
}

}  // namespace

array fft(const array& a, std::optional<std::int64_t> n, int axis, Norm norm, StreamOrDevice s) {
  return along_one("fft", a, Type::complex, false, n, axis, norm, s);
}
array ifft(const array& a, std::optional<std::int64_t> n, int axis, Norm norm, StreamOrDevice s) {
  return along_one("ifft", a, Type::complex, true, n, axis, norm, s);
}
array rfft(const array& a, std::optional<std::int64_t> n, int axis, Norm norm, StreamOrDevice s) {
  return along_one("rfft", a, Type::real, false, n, axis, norm, s);
}
array irfft(const array& a, std::optional<std::int64_t> n, int axis, Norm norm, StreamOrDevice s) {
  return along_one("irfft", a, Type::half, true, n, axis, norm, s);
}
array fftn(const array& a, const OptionalShape& shape, const OptionalAxes& axes, Norm norm,
           StreamOrDevice s) {
  return along_all("fftn", a, Type::complex, false, shape, axes, norm, s);
}
array ifftn(const array& a, const OptionalShape& shape, const OptionalAxes& axes, Norm norm,
            StreamOrDevice s) {
  return along_all("ifftn", a, Type::complex, true, shape, axes, norm, s);
}
array rfftn(const array& a, const OptionalShape& shape, const OptionalAxes& axes, Norm norm,
            StreamOrDevice s) {
  return along_all("rfftn", a, Type::real, false, shape, axes, norm, s);
}
array irfftn(const array& a, const OptionalShape& shape, const OptionalAxes& axes, Norm norm,
             StreamOrDevice s) {
  return along_all("irfftn", a, Type::half, true, shape, axes, norm, s);
}

// ---- Frequencies ----

namespace {

void check_samples(std::string_view op, std::int64_t n, double d) {
  if (n < 1) fail(op, n, " samples, expected 1 or more");
  if (d == 0) fail(op, "the distance of samples is 0");
}

array shifted(std::string_view op, const array& a, const OptionalAxes& axes, bool back,
              StreamOrDevice s) {
  Axes all(a.shape().size());
  std::iota(all.begin(), all.end(), 0);
  if (axes) all = *axes;
  Shape shift;
  for (int& axis : all) {
    axis = normalize_axis(op, axis, a.ndim());
    const std::int64_t half = a.shape(axis) / 2;
    shift.push_back(back ? -half : half);
  }
  return all.empty() ? a : roll(a, shift, all, s);
}

}  // namespace

array fftfreq(std::int64_t n, double d, StreamOrDevice s) {
  check_samples("fftfreq", n, d);
  const array positive = arange(0, static_cast<double>((n + 1) / 2), 1, float32, s);
  const array negative = arange(static_cast<double>(-(n / 2)), 0, 1, float32, s);
  return multiply(concatenate({positive, negative}, 0, s),
                  array(1 / (static_cast<double>(n) * d), float32), s);
}
array rfftfreq(std::int64_t n, double d, StreamOrDevice s) {
  check_samples("rfftfreq", n, d);
  return multiply(arange(0, static_cast<double>(n / 2 + 1), 1, float32, s),
                  array(1 / (static_cast<double>(n) * d), float32), s);
}
array fftshift(const array& a, const OptionalAxes& axes, StreamOrDevice s) {
  return shifted("fftshift", a, axes, false, s);
}
array ifftshift(const array& a, const OptionalAxes& axes, StreamOrDevice s) {
  return shifted("ifftshift", a, axes, true, s);
}

// ---- Frames ----

namespace {

using Widths = std::vector<std::pair<std::int64_t, std::int64_t>>;

// Zeros (or what the mode says) before and after the last axis, or the one before it.
array pad_one(const array& a, int from_last, std::int64_t before, std::int64_t after,
              StreamOrDevice s, const std::string& mode = "constant") {
  Widths widths(a.shape().size());
  widths[widths.size() - static_cast<std::size_t>(from_last)] = {before, after};
  return pad(a, widths, scalar_like(0, a), mode, s);
}

std::int64_t hop_of(std::string_view op, std::int64_t n_fft, const Frames& frames) {
  if (n_fft < 1) fail(op, "n_fft is ", n_fft, ", expected 1 or more");
  const std::int64_t hop = frames.hop.value_or(n_fft / 4);
  if (hop < 1) fail(op, "frames are ", hop, " samples apart, expected 1 or more");
  return hop;
}

// The window of n_fft samples; none where it is ones.
std::optional<array> window_of(std::string_view op, std::int64_t n_fft, const Frames& frames,
                               StreamOrDevice s) {
  if (frames.window && frames.window->ndim() != 1)
    fail(op, "the window has shape ", frames.window->shape(), ", expected 1 dimension");
  const std::int64_t n =
      frames.window ? frames.window->shape(0) : frames.window_length.value_or(n_fft);
  if (n < 0 || n > n_fft) fail(op, "a window of ", n, " samples, expected 0 to n_fft, ", n_fft);
  if (!frames.window && n == n_fft) return {};
  const std::int64_t before = (n_fft - n) / 2;
  return pad_one(frames.window ? *frames.window : ones({n}, float32, s), 1, before,
                 n_fft - n - before, s);
}

}  // namespace

array stft(const array& a, std::int64_t n_fft, const Frames& frames, const std::string& pad_mode,
           StreamOrDevice s) {
  if (a.ndim() == 0) fail("stft", "the input has no axis");
  const std::int64_t hop = hop_of("stft", n_fft, frames);
  const std::optional<array> window = window_of("stft", n_fft, frames, s);
  const bool complex = is_complex(a.dtype()), onesided = frames.onesided.value_or(!complex);
  array signal = astype(a, complex ? complex64 : float32, s);
  if (frames.center) signal = pad_one(signal, 1, n_fft / 2, n_fft / 2, s, pad_mode);
  const std::int64_t n = signal.shape(-1);
  if (n < n_fft) fail("stft", n, " samples are less than a frame of ", n_fft);
  Shape shape = signal.shape();
  shape.back() = (n - n_fft) / hop + 1;
  shape.push_back(n_fft);
  Strides strides = row_major(signal.shape());
  strides.back() = hop;
  strides.push_back(1);
  array rows = as_strided(signal, shape, strides, 0, s);
  if (window) rows = multiply(rows, *window, s);
  return swapaxes(onesided ? rfft(rows, {}, -1, frames.norm, s) : fft(rows, {}, -1, frames.norm, s),
                  -1, -2, s);
}

namespace {

// The sum of frames (..., count, n) that lie `hop` apart: `parts` of them reach a stretch of `hop`
// samples, one part each.
array overlapped(const array& rows, std::int64_t hop, StreamOrDevice s) {
  const std::int64_t count = rows.shape(-2), n = rows.shape(-1), parts = (n - 1) / hop + 1;
  const std::int64_t reach = (Size("istft", parts) * hop).value();  // of a frame's stretches
  const array whole = pad_one(pad_one(rows, 1, 0, reach - n, s), 2, parts - 1, parts - 1, s);
  Shape shape = rows.shape();
  shape.back() = parts, shape.end()[-2] = count + parts - 1;
  shape.push_back(hop);
  Strides strides = row_major(whole.shape());
  strides.back() = hop - reach;
  strides.push_back(1);
  const array stretches =
      sum(as_strided(whole, shape, strides, (parts - 1) * reach, s), Axes{-2}, false, s);
  const std::int64_t samples = (Size("istft", count - 1) * hop + n).value();
  return section(flatten(stretches, -2, -1, s), stretches.ndim() - 2, 0, samples, 1, s);
}

}  // namespace

array istft(const array& a, std::optional<std::int64_t> n_fft, const Frames& frames,
            std::optional<std::int64_t> length, StreamOrDevice s) {
  if (a.ndim() < 2) fail("istft", "the input has shape ", a.shape(), ", expected 2 axes or more");
  const bool onesided = frames.onesided.value_or(true);
  const std::int64_t n = n_fft.value_or(onesided ? 2 * (a.shape(-2) - 1) : a.shape(-2));
  const std::int64_t hop = hop_of("istft", n, frames);
  if (a.shape(-1) == 0) fail("istft", "the input has shape ", a.shape(), ", without a frame");
  if (length && *length < 0) fail("istft", "a length of ", *length);
  const std::optional<array> given = window_of("istft", n, frames, s);
  const array window = astype(given ? *given : ones({n}, float32, s), float32, s);
  const array spectra = swapaxes(a, -1, -2, s);
  array rows = onesided ? irfft(spectra, n, -1, frames.norm, s)
                        : real(ifft(spectra, n, -1, frames.norm, s), s);
  rows = multiply(rows, window, s);
  const array squares = broadcast_to(square(window, s), {a.shape(-1), n}, s);
  // Where no window reaches there is nothing to divide.
  array out =
      divide(overlapped(rows, hop, s), maximum(overlapped(squares, hop, s), array(1e-8f), s), s);
  const std::int64_t samples = out.shape(-1), margin = frames.center ? n / 2 : 0;
  const std::int64_t start = std::min(margin, samples);
  const std::int64_t stop =
      length ? start + std::min(*length, samples - start) : std::max(start, samples - margin);
  out = section(out, out.ndim() - 1, start, stop, 1, s);
  return length ? resized(out, out.ndim() - 1, *length, s) : out;
}

}  // namespace fft
}  // namespace cermet
