// When a program becomes code.
#include "cpu/program/kernel.h"

#include <algorithm>
#include <new>

#include "cpu/machine/print.h"

namespace cermet::cpu {
namespace {

// Elements of a loop's call that take the interpreter as long as it takes to make code of the call.
constexpr std::int64_t kPrice = 16 * 1024;
// Bytes of outputs that others do not find in a last-level cache. (What systems say of its size is
// often the sum over all sockets.)
constexpr std::int64_t kUncached = 32 << 20;

}  // namespace

ProgramKernel::ProgramKernel(Lowered lowered) : lowered_(std::move(lowered)), work_(0) {
  for (const Pass& pass : lowered_.passes)
    calls_ += static_cast<std::int64_t>(pass.calls.size() + pass.reductions.size());
}
ProgramKernel::~ProgramKernel() = default;

// Whether the outputs are larger than what a cache would keep of them, and nothing is overwritten:
// stores past the caches spare the memory's being read first.
bool ProgramKernel::streams(std::int64_t elements, const Binding& b) const {
  if (!machine::streams()) return false;
  std::int64_t bytes = 0;
  for (std::size_t i = 0; i < b.outputs.size(); ++i) {
    const Port& port = lowered_.ports[lowered_.inputs + i];
    if (port.extent != Extent::full) continue;
    bytes += elements * static_cast<std::int64_t>(size_of(port.dtype));
    for (const BoundPort& in : b.inputs)
      if (in.data == b.outputs[i].data) return false;
  }
  return bytes >= kUncached;
}

const Lowered& ProgramKernel::for_run(std::int64_t elements, const Binding& binding) const {
  using State = Compiled::State;
  Compiled& compiled = compiled_[streams(elements, binding)];
  State state = compiled.state.load(std::memory_order_acquire);
  if (state == State::compiled) return *compiled.code;
  const machine::Use use = machine::use();
  if (state == State::busy || use == machine::Use::never || calls_ == 0) return lowered_;
  // Had it been code from the start, no more than twice the time would have gone by.
  const std::int64_t work = work_.fetch_add(elements, std::memory_order_relaxed) + elements;
  if (work < kPrice && use != machine::Use::always) return lowered_;
  if (!compiled.state.compare_exchange_strong(state, State::busy)) return lowered_;
  try {
    compiled.code =
        std::make_unique<const Lowered>(with_code(lowered_, &compiled != &compiled_[0]));
    compiled.state.store(State::compiled, std::memory_order_release);
    return *compiled.code;
  } catch (const std::bad_alloc&) {  // another time, if the system does not refuse it for ever
    compiled.state.store(State::interpreted, std::memory_order_release);
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
