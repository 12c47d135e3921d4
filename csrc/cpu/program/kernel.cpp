// When a program becomes code.
#include "cpu/program/kernel.h"

#include <algorithm>
#include <new>

#include "cpu/machine/print.h"

namespace cermet::cpu {
namespace {

// Elements of a loop's call that take the interpreter as long as it takes to make code of the call.
constexpr std::int64_t kPrice = 16 * 1024;

}  // namespace

ProgramKernel::ProgramKernel(Lowered lowered) : lowered_(std::move(lowered)), work_(0) {
  for (const Pass& pass : lowered_.passes)
    calls_ += static_cast<std::int64_t>(pass.calls.size() + pass.reductions.size());
}
ProgramKernel::~ProgramKernel() = default;

const Lowered& ProgramKernel::for_run(std::int64_t elements) const {
  State state = state_.load(std::memory_order_acquire);
  if (state == State::compiled) return *code_;
  const machine::Use use = machine::use();
  if (state == State::busy || use == machine::Use::never || calls_ == 0) return lowered_;
  // Had it been code from the start, no more than twice the time would have gone by.
  const std::int64_t work = work_.fetch_add(elements, std::memory_order_relaxed) + elements;
  if (work < kPrice && use != machine::Use::always) return lowered_;
  if (!state_.compare_exchange_strong(state, State::busy)) return lowered_;
  try {
    code_ = std::make_unique<const Lowered>(with_code(lowered_));
    state_.store(State::compiled, std::memory_order_release);
    return *code_;
  } catch (const std::bad_alloc&) {  // another time, if the system does not refuse it for ever
    state_.store(State::interpreted, std::memory_order_release);
    return lowered_;
  }
}

std::string listing(const Lowered& lowered) {
  const machine::Listing listing;
  const Lowered code = with_code(lowered);
  std::ptrdiff_t loops = 0;
  if (!code.rows)
    for (const Pass& pass : code.passes)
      loops += std::count_if(pass.calls.begin(), pass.calls.end(),
                             [](const Call& call) { return call.kind != Call::Kind::code; });
  return loops ? listing.text() + "  calls of loops: " + std::to_string(loops) + "\n"
               : listing.text();
}

}  // namespace cermet::cpu
