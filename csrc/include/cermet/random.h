// Random numbers from keys: Threefry-2x32 with 20 rounds (Salmon, Moraes, Dror and Shaw, "Parallel
// random numbers: as easy as 1, 2, 3", 2011).
//
// A key is an array of two uint32. Without one, functions split the global state. The same key
// gives the same bits for any number of threads and on every backend.
#pragma once

#include <optional>

#include "cermet/ops.h"

namespace cermet::random {

using Key = std::optional<array>;

array key(std::uint64_t seed);
// Restarts the global state.
void seed(std::uint64_t seed);
// The global state: an array that compiled functions can capture.
array state();
void set_state(const array& state);
// Gives a variable the state and makes it that, until the next draw: what is assigned to it
// meanwhile is drawn from. It must live as long.
void lend_state(array& variable);
bool is_lent(const array& variable);
// `num` keys, shape (num, 2).
array split(const array& key, int num = 2, StreamOrDevice s = {});
// Uniform bits; width is the bytes an element: 1, 2, 4 (or 8) for uint8, uint16, uint32 (uint64).
array bits(const Shape& shape, int width = 4, const Key& key = {}, StreamOrDevice s = {});
// Uniform in [low, high).
array uniform(const array& low, const array& high, const Shape& shape, Dtype dtype = float32,
              const Key& key = {}, StreamOrDevice s = {});
array uniform(const Shape& shape, Dtype dtype = float32, const Key& key = {},
              StreamOrDevice s = {});
array normal(const Shape& shape, Dtype dtype = float32, const std::optional<array>& loc = {},
             const std::optional<array>& scale = {}, const Key& key = {}, StreamOrDevice s = {});
// Normal vectors (..., n) with mean (..., n) and covariance (..., n, n). The shape is that of the
// leading axes, to which those of both broadcast; absent, it is what they broadcast to.
array multivariate_normal(const array& mean, const array& covariance,
                          const std::optional<Shape>& shape = {}, Dtype dtype = float32,
                          const Key& key = {}, StreamOrDevice s = {});
// Integers in [low, high); absent, `high` is beyond all that the type holds.
array randint(const array& low, const std::optional<array>& high, const Shape& shape,
              Dtype dtype = int32, const Key& key = {}, StreamOrDevice s = {});
array bernoulli(const array& p, const std::optional<Shape>& shape = {}, const Key& key = {},
                StreamOrDevice s = {});
array truncated_normal(const array& lower, const array& upper,
                       const std::optional<Shape>& shape = {}, Dtype dtype = float32,
                       const Key& key = {}, StreamOrDevice s = {});
array gumbel(const Shape& shape, Dtype dtype = float32, const Key& key = {}, StreamOrDevice s = {});
array laplace(const Shape& shape, Dtype dtype = float32, double loc = 0, double scale = 1,
              const Key& key = {}, StreamOrDevice s = {});
// Indices drawn with the probabilities softmax(logits) along an axis; `shape` is the result's and
// must broadcast with logits' shape without the axis.
array categorical(const array& logits, int axis = -1, const std::optional<Shape>& shape = {},
                  const Key& key = {}, StreamOrDevice s = {});
// As above with `num_samples` draws along a new last axis.
array categorical(const array& logits, int axis, int num_samples, const Key& key = {},
                  StreamOrDevice s = {});
array permutation(const array& a, int axis = 0, const Key& key = {}, StreamOrDevice s = {});
array permutation(std::int64_t n, const Key& key = {}, StreamOrDevice s = {});

}  // namespace cermet::random
