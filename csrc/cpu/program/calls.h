// Calls of loops as steps of a trace.
#pragma once

#include <utility>
#include <vector>

#include "cpu/machine/record.h"
#include "cpu/program/lowered.h"

namespace cermet::cpu {

class CallRecorder {
 public:
  virtual ~CallRecorder() = default;

 protected:
  // What is known of a location.
  struct Held {
    std::int32_t value = machine::kNoValue;
    Dtype dtype = float32;   // of the value
    bool is_scalar = false;  // all elements are equal
    bool moves = false;      // it is memory that outlives the tile
    std::size_t loaded = 0;  // bytes of the elements that the code reads there
  };
  // `streams`: what outputs get is stored past the caches.
  explicit CallRecorder(const Lowered& program, bool streams);
  Held& at(Location location) {
    if (location >= held_.size()) held_.resize(location + 1);
    return held_[location];
  }

  // Steps for what is at a location, and to leave a value there.
  virtual std::int32_t load(Location location, Dtype dtype) = 0;
  virtual void store(Location location, Dtype dtype, std::int32_t value) = 0;

  // The value at a location: one that has been computed, or what is there before.
  std::int32_t read(Location location, Dtype dtype);
  void write(Location location, std::int32_t value, Dtype dtype);
  // Whether an operation or a rounding could be recorded.
  bool records(const Call& call);

  // The same for elements in memory, at a place that the code's table has.
  std::int32_t put_load(std::uint32_t place, Dtype dtype, machine::Micro op,
                        std::uint16_t loop = 0);
  void put_store(std::uint32_t place, Dtype dtype, std::int32_t value,
                 machine::Micro op = machine::Micro::store, std::uint16_t loop = 0,
                 bool streams = false);

  // How two elements combine, and what changes nothing.
  static std::pair<machine::Micro, std::uint32_t> combination(const Reduction& r);

  const Lowered& p_;
  const bool streams_;
  std::vector<Held> held_;         // by location
  std::vector<Location> written_;  // in the code so far
  machine::Trace trace_;
};

}  // namespace cermet::cpu
