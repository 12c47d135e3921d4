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
  const Lowered& for_run(std::int64_t elements) const;

 private:
  enum class State : std::uint8_t { interpreted, busy, compiled };

  const Lowered lowered_;
  std::int64_t calls_ = 0;                  // of loops, for one tile
  mutable std::atomic<std::int64_t> work_;  // elements of calls that were interpreted
  mutable std::atomic<State> state_{State::interpreted};
  mutable std::unique_ptr<const Lowered> code_;
};

// What a program becomes, as text.
std::string listing(const Lowered& lowered);

}  // namespace cermet::cpu
