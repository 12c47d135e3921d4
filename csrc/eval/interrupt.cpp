#include "eval/interrupt.h"

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <utility>

#include "cermet/eval.h"

namespace cermet {
namespace {

using Clock = std::chrono::steady_clock;

thread_local bool interruptible = true;
thread_local Clock::time_point asked{};

std::shared_ptr<const std::function<bool()>> g_check;  // accessed atomically
std::atomic<bool> g_has_check{false};

}  // namespace

void poll_interrupt() {
  if (!g_has_check.load(std::memory_order_acquire) || !interruptible) return;
  const auto now = Clock::now();
  if (now - asked < std::chrono::milliseconds(20)) return;
  asked = now;
  const auto check = std::atomic_load(&g_check);
  if (check && (*check)()) throw Interrupted();
}

Uninterrupted::Uninterrupted() : before_(std::exchange(interruptible, false)) {}
Uninterrupted::~Uninterrupted() { interruptible = before_; }
bool is_interruptible() { return interruptible; }

void set_interrupt_check(std::function<bool()> check) {
  const bool present = static_cast<bool>(check);
  std::atomic_store(&g_check, present
                                  ? std::make_shared<const std::function<bool()>>(std::move(check))
                                  : nullptr);
  g_has_check.store(present, std::memory_order_release);
}

}  // namespace cermet
