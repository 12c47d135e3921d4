// Fourier transforms of float32 and complex64 arrays.
//
// Other types are converted. An axis is cropped or padded with zeros to the length that is asked
// for. What does not fit raises std::invalid_argument.
#pragma once

#include <string>

#include "cermet/ops.h"

namespace cermet::fft {

// What is divided by the length: the inverse transform, both by its root, or the other one.
enum class Norm : std::uint8_t { backward, ortho, forward };

using OptionalShape = std::optional<Shape>;

// Along one axis. rfft gives the n / 2 + 1 frequencies of real numbers that are not negative;
// irfft makes n real numbers of these, an even n when absent.
array fft(const array& a, std::optional<std::int64_t> n = {}, int axis = -1,
          Norm norm = Norm::backward, StreamOrDevice s = {});
array ifft(const array& a, std::optional<std::int64_t> n = {}, int axis = -1,
           Norm norm = Norm::backward, StreamOrDevice s = {});
array rfft(const array& a, std::optional<std::int64_t> n = {}, int axis = -1,
           Norm norm = Norm::backward, StreamOrDevice s = {});
array irfft(const array& a, std::optional<std::int64_t> n = {}, int axis = -1,
            Norm norm = Norm::backward, StreamOrDevice s = {});

// Along several, all when absent; of these the last one is that of rfft and irfft.
array fftn(const array& a, const OptionalShape& shape = {}, const OptionalAxes& axes = {},
           Norm norm = Norm::backward, StreamOrDevice s = {});
array ifftn(const array& a, const OptionalShape& shape = {}, const OptionalAxes& axes = {},
            Norm norm = Norm::backward, StreamOrDevice s = {});
array rfftn(const array& a, const OptionalShape& shape = {}, const OptionalAxes& axes = {},
            Norm norm = Norm::backward, StreamOrDevice s = {});
array irfftn(const array& a, const OptionalShape& shape = {}, const OptionalAxes& axes = {},
             Norm norm = Norm::backward, StreamOrDevice s = {});

// The frequencies of a transform of n samples at distances d, and those that rfft gives.
array fftfreq(std::int64_t n, double d = 1, StreamOrDevice s = {});
array rfftfreq(std::int64_t n, double d = 1, StreamOrDevice s = {});
// Frequency 0 in the middle of the axes, and back to the front.
array fftshift(const array& a, const OptionalAxes& axes = {}, StreamOrDevice s = {});
array ifftshift(const array& a, const OptionalAxes& axes = {}, StreamOrDevice s = {});

// Short-time transforms: of frames of n_fft samples, `hop` apart, times a window. The window's
// default are ones; a shorter one is centered in the frame.
struct Frames {
  std::optional<std::int64_t> hop = {};            // n_fft / 4
  std::optional<std::int64_t> window_length = {};  // of ones: n_fft
  std::optional<array> window = {};
  bool center = true;  // the signal is padded so that frames lie around their places
  Norm norm = Norm::backward;
  std::optional<bool> onesided = {};
};
// (..., samples) to (..., frequencies, frames). `onesided` is the default for real numbers.
array stft(const array& a, std::int64_t n_fft = 2048, const Frames& frames = {},
           const std::string& pad_mode = "reflect", StreamOrDevice s = {});
// And back, by the sum of the windowed frames over that of the windows' squares.
array istft(const array& a, std::optional<std::int64_t> n_fft = {}, const Frames& frames = {},
            std::optional<std::int64_t> length = {}, StreamOrDevice s = {});

}  // namespace cermet::fft
