// Calls of loops as steps of a trace.
#include "cpu/program/calls.h"

namespace cermet::cpu {

using machine::kNoValue;
using machine::Micro;
using machine::Step;

CallRecorder::CallRecorder(const Lowered& program, bool streams)
    : p_(program), streams_(streams), held_(2 * p_.values + p_.registers) {
  for (const SmallValue& v : p_.small)
    if (v.extent == Extent::scalar) at(v.id).is_scalar = true;
}

std::int32_t CallRecorder::read(Location location, Dtype dtype) {
  if (at(location).value == kNoValue) at(location).value = load(location, dtype);
  return at(location).value;
}

void CallRecorder::write(Location location, std::int32_t value, Dtype dtype) {
  at(location).value = value;
  at(location).dtype = dtype;
  written_.push_back(location);
  if (at(location).moves) store(location, dtype, value);
}

bool CallRecorder::records(const Call& call) {
  if (call.kind == Call::Kind::round) {
    const Micro op = call.result == float16 ? Micro::round_float16 : Micro::round_bfloat16;
    write(call.out, trace_.put(op, read(call.a, float32)), float32);
    return true;
  }
  if (!machine::is_recorded(call.compute) || !machine::is_recorded(call.result)) return false;
  const int arity = call.op == Op::cast ? 1 : info(call.op).arity;
  const Location locations[3] = {call.a, call.b, call.c};
  std::int32_t in[3] = {kNoValue, kNoValue, kNoValue};
  for (int i = 0; i < arity; ++i)
    in[i] = read(locations[i], call.op == Op::select && i == 0 ? bool_ : call.compute);
  const std::int32_t value = call.op == Op::cast
                                 ? machine::record_cast(trace_, call.compute, call.result, in[0])
                                 : machine::record(trace_, call.op, call.compute, in);
  if (value == kNoValue) return false;
  write(call.out, value, call.result);
  return true;
}

std::int32_t CallRecorder::put_load(std::uint32_t place, Dtype dtype, Micro op,
                                    std::uint16_t loop) {
  Step step{op};
  step.bits = place;
  step.dtype = dtype;
  step.loop = loop;
  const std::int32_t value = trace_.put(step);
  return dtype == bool_ ? trace_.put(Micro::int_not_equal, value, trace_.constant(0)) : value;
}

void CallRecorder::put_store(std::uint32_t place, Dtype dtype, std::int32_t value, Micro op,
                             std::uint16_t loop, bool streams) {
  if (dtype == bool_)
    value = trace_.put(Micro::select, value, trace_.constant(1), trace_.constant(0));
  if (dtype == bfloat16) value = trace_.put(Micro::round_bfloat16, value);
  Step step{op};
  step.bits = place;
  step.dtype = dtype;
  step.loop = loop;
  step.streams = streams;
  step.in[0] = value;
  trace_.put(step);
}

std::pair<Micro, std::uint32_t> CallRecorder::combination(const Reduction& r) {
  const auto bits = [](float x) { return std::bit_cast<std::uint32_t>(x); };
  constexpr float infinity = std::numeric_limits<float>::infinity();
  const bool floats = r.dtype == float32, wraps = is_unsigned(r.dtype);
  switch (r.op) {
    case Op::multiply:
      return floats ? std::pair{Micro::multiply, bits(1.0f)} : std::pair{Micro::int_multiply, 1u};
    case Op::maximum:
      if (floats) return {Micro::maximum, bits(-infinity)};
      return wraps ? std::pair{Micro::unsigned_maximum, 0u}
                   : std::pair{Micro::int_maximum, 0x80000000u};
    case Op::minimum:
      if (floats) return {Micro::minimum, bits(infinity)};
      return wraps ? std::pair{Micro::unsigned_minimum, ~0u}
                   : std::pair{Micro::int_minimum, 0x7fffffffu};
    case Op::logical_and: return {Micro::bit_and, ~0u};
    case Op::logical_or: return {Micro::bit_or, 0u};
    default: return floats ? std::pair{Micro::add, bits(-0.0f)} : std::pair{Micro::int_add, 0u};
  }
}

}  // namespace cermet::cpu
