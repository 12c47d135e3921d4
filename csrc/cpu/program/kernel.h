// A kernel of the CPU: a lowered program, which becomes code when it has earned it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "cpu/program/lowered.h"
#include "plan/plan.h"

namespace cermet::cpu {

class ProgramKernel final : public Kernel {
 public:
  explicit ProgramKernel(Lowered lowered);
  ~ProgramKernel() override;
  // What a run over so many elements uses. Called by any thread.
  const Lowered& for_run(std::int64_t elements, const Binding& binding) const;

 private:
  struct Compiled {
    enum class State : std::uint8_t { interpreted, busy, compiled };
    std::atomic<State> state{State::interpreted};
    std::unique_ptr<const Lowered> code;
  };

  bool streams(std::int64_t elements, const Binding& binding) const;

  const Lowered lowered_;
  std::int64_t calls_ = 0;                  // of loops, for one tile
  mutable std::atomic<std::int64_t> work_;  // elements of calls that were interpreted
  mutable Compiled compiled_[2];            // the second one streams
};

// What a program becomes, as text.
std::string listing(const Lowered& lowered);

}  // namespace cermet::cpu
