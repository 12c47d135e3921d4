// Trains a linear regression by gradient descent: finds the weights behind noisy samples.
#include <cermet/cermet.h>

#include <cstdio>

namespace mx = cermet;

int main() {
  constexpr int kSamples = 1000, kFeatures = 20, kSteps = 200;
  constexpr float kNoise = 0.1F, kLearningRate = 0.1F;

  mx::random::seed(0);
  const mx::array x = mx::random::normal({kSamples, kFeatures});
  const mx::array true_weights = mx::random::normal({kFeatures});
  const mx::array y = mx::matmul(x, true_weights) + kNoise * mx::random::normal({kSamples});

  const auto loss_and_gradient = mx::value_and_grad([&](const mx::Arrays& parameters) {
    return mx::mean(mx::square(mx::matmul(x, parameters[0]) - y));
  });

  mx::array weights = mx::zeros({kFeatures});
  for (int step = 0; step <= kSteps; ++step) {
    const auto [loss, gradients] = loss_and_gradient({weights});
    weights = weights - kLearningRate * gradients[0];
    // Nothing has been computed so far: arrays are lazy. Now compute this step.
    mx::eval({loss, weights});
    if (step % 20 == 0) std::printf("step %3d  loss %.6f\n", step, loss.item<float>());
  }

  // The noise leaves an error of about kNoise / sqrt(kSamples) in each weight.
  const float error = mx::max(mx::abs(weights - true_weights)).item<float>();
  std::printf("largest error of a weight: %.4f\n", error);
  return error < kNoise ? 0 : 1;
}
