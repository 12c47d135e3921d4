// A pass has what its reductions and outputs need, found backwards from them.
#include "metal/program/passes.h"

#include <algorithm>

namespace cermet::metal {
namespace {

const Instruction* instruction(const Program& p, ValueId v) {
  const Value& value = p.values[v];
  return value.from == Value::From::instruction ? &p.instructions[value.index] : nullptr;
}
int phase_of(const Program& p, ValueId v) {
  const Instruction* ins = instruction(p, v);
  return ins ? ins->phase : 0;
}
std::int64_t order_of(const Program& p, ValueId v) {
  return instruction(p, v) ? std::int64_t{p.values[v].index} : -1;
}

}  // namespace

std::vector<Pass> plan_passes(const Program& p, std::set<ValueId>* kept) {
  std::vector<Pass> passes(p.phases);
  std::set<ValueId> done;
  const auto is_full = [&](ValueId v) { return p.values[v].extent == Extent::full; };
  for (int phase = 0; phase < p.phases; ++phase) {
    Pass& pass = passes[phase];
    std::vector<ValueId> todo;
    for (const Instruction& ins : p.instructions)
      if (ins.is_reduce && ins.phase == phase + 1) {
        pass.reductions.push_back(&ins);
        todo.push_back(ins.in[0]);
      }
    for (std::size_t i = 0; i < p.outputs.size(); ++i) {
      const ValueId v = p.outputs[i].value;
      if (!is_full(v) || phase_of(p, v) != phase) continue;
      pass.outputs.push_back(i);
      todo.push_back(v);
    }
    std::set<ValueId> needed;
    while (!todo.empty()) {
      const ValueId v = todo.back();
      todo.pop_back();
      if (!is_full(v) || needed.contains(v)) continue;
      if (kept && done.contains(v)) {
        kept->insert(v);
        continue;
      }
      needed.insert(v);
      if (const Instruction* ins = instruction(p, v))
        for (ValueId in : ins->in)
          if (in != kNoValue) todo.push_back(in);
    }
    pass.values.assign(needed.begin(), needed.end());  // an operand's number is lower
    std::stable_sort(pass.values.begin(), pass.values.end(),
                     [&](ValueId a, ValueId b) { return order_of(p, a) < order_of(p, b); });
    done.insert(needed.begin(), needed.end());
  }
  return passes;
}

}  // namespace cermet::metal
