// The submodule fft.
#include "bindings.h"

namespace cermet::python {
namespace {

using fft::Frames;
using fft::Norm;
using Length = std::optional<std::int64_t>;

Norm norm_from(const char* op, const std::string& norm) {
  if (norm == "backward") return Norm::backward;
  if (norm == "ortho") return Norm::ortho;
  if (norm == "forward") return Norm::forward;
  throw std::invalid_argument(std::string(op) + ": norm is '" + norm +
                              "', expected 'backward', 'ortho' or 'forward'");
}

// As def_op, but the stream may be given by position.
template <class F, class... Args>
void def_fft(nb::module_& m, const char* name, F f, const char* doc, const Args&... args) {
  m.def(name, repeatable(name, f), args..., "stream"_a = nb::none(), doc);
}

constexpr Row<array(const array&, Length, int, Norm, StreamOrDevice)> kOne[] = {
    {"fft", &fft::fft, "The Fourier transform along an axis, cropped or padded to n: complex64."},
    {"ifft", &fft::ifft, "The inverse of `fft`."},
    {"rfft", &fft::rfft,
     "The n // 2 + 1 frequencies of the transform of real numbers that are not negative."},
    {"irfft", &fft::irfft,
     "The inverse of `rfft`: n real numbers, 2 * (m - 1) of m frequencies when None."},
};
struct Several {
  const char *name, *name_2d;
  array (*function)(const array&, const fft::OptionalShape&, const OptionalAxes&, Norm,
                    StreamOrDevice);
  const char* doc;
};
constexpr Several kSeveral[] = {
    {"fftn", "fft2", &fft::fftn,
     "The Fourier transform along several axes, each cropped or padded to its length in s."},
    {"ifftn", "ifft2", &fft::ifftn, "The inverse of `fftn`."},
    {"rfftn", "rfft2", &fft::rfftn,
     "The transform of real numbers along several axes: `rfft` along the last, `fft` along "
     "others."},
    {"irfftn", "irfft2", &fft::irfftn, "The inverse of `rfftn`."},
};

void bind_transforms_of(nb::module_& m) {
  for (const auto& row : kOne)
    def_fft(
        m, row.name,
        [&row](const array& a, Length n, int axis, const std::string& norm, StreamOrDevice s) {
          return row.function(a, n, axis, norm_from(row.name, norm), s);
        },
        row.doc, "a"_a, "n"_a = nb::none(), "axis"_a = -1, "norm"_a = "backward");
  nb::list last_two;
  last_two.append(-2), last_two.append(-1);
  for (const auto& row : kSeveral) {
    const auto define = [&](const char* name, const nb::object& axes) {
      def_fft(
          m, name,
          [&row, name](const array& a, const fft::OptionalShape& s, const OptionalAxes& axes,
                       const std::string& norm, StreamOrDevice stream) {
            return row.function(a, s, axes, norm_from(name, norm), stream);
          },
          row.doc, "a"_a, "s"_a = nb::none(), "axes"_a.none() = axes, "norm"_a = "backward");
    };
    define(row.name, nb::none());
    define(row.name_2d, last_two);
  }
}

void bind_frames(nb::module_& m) {
  def_fft(
      m, "stft",
      [](const array& x, std::int64_t n_fft, Length hop, Length win_length,
         const std::optional<array>& window, bool center, const std::string& pad_mode,
         const std::string& norm, std::optional<bool> onesided, StreamOrDevice s) {
        return fft::stft(x, n_fft,
                         {hop, win_length, window, center, norm_from("stft", norm), onesided},
                         pad_mode, s);
      },
      "Transforms (..., frequencies, frames) of frames of n_fft samples, hop_length (n_fft // 4) "
      "apart, times a window that is shorter or as long; without one it is win_length ones. With "
      "`center` the signal is padded as pad_mode says, so that frames lie around their places. "
      "`onesided`, the default for real signals, leaves out negative frequencies.",
      "x"_a, "n_fft"_a = 2048, "hop_length"_a = nb::none(), "win_length"_a = nb::none(),
      "window"_a = nb::none(), "center"_a = true, "pad_mode"_a = "reflect", "norm"_a = "backward",
      "onesided"_a = nb::none());
  def_fft(
      m, "istft",
      [](const array& stft_matrix, Length n_fft, Length hop, Length win_length,
         const std::optional<array>& window, bool center, const std::string& norm,
         std::optional<bool> onesided, Length length, StreamOrDevice s) {
        return fft::istft(stft_matrix, n_fft,
                          {hop, win_length, window, center, norm_from("istft", norm), onesided},
                          length, s);
      },
      "The signal whose `stft` this is, as real numbers: the sum of the windowed frames over that "
      "of the windows' squares, cropped or padded to `length`. Without n_fft an even one is taken.",
      "stft_matrix"_a, "n_fft"_a = nb::none(), "hop_length"_a = nb::none(),
      "win_length"_a = nb::none(), "window"_a = nb::none(), "center"_a = true,
      "norm"_a = "backward", "onesided"_a = nb::none(), "length"_a = nb::none());
}

}  // namespace

void bind_fft(nb::module_& m) {
  nb::module_ sub = m.def_submodule(
      "fft",
      "Fourier transforms, in float32 and complex64. What the length divides, `norm` says: "
      "the inverse transform ('backward'), both by its root ('ortho'), or the other one "
      "('forward').");
  bind_transforms_of(sub);
  def_fft(sub, "fftfreq", &fft::fftfreq,
          "The frequencies of `fft`: of n samples, d apart; from n / 2 on negative.", "n"_a,
          "d"_a = 1.0);
  def_fft(sub, "rfftfreq", &fft::rfftfreq, "The frequencies of `rfft`.", "n"_a, "d"_a = 1.0);
  def_fft(sub, "fftshift", &fft::fftshift,
          "Frequency 0 moved to the middle of these axes, or of all.", "a"_a,
          "axes"_a = nb::none());
  def_fft(sub, "ifftshift", &fft::ifftshift, "The inverse of `fftshift`.", "a"_a,
          "axes"_a = nb::none());
  bind_frames(sub);
}

}  // namespace cermet::python
