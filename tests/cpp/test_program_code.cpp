// Random programs, interpreted and as code: equal bytes, whatever the strides, with guard pages
// around every array. CERMET_PROGRAMS says how many, CERMET_PROGRAMS_SEED the first one's seed.
#include <doctest/doctest.h>
#include <sys/mman.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "cermet/cermet.h"
#include "cpu/machine/code.h"
#include "cpu/program/interpret.h"
#include "eval/batch.h"
#include "plan/plan.h"

namespace {

using namespace cermet;
using cermet::cpu::Binding;
using cermet::cpu::BoundPort;
using cermet::cpu::Lowered;

constexpr std::size_t kPage = 4096;
constexpr std::size_t kRoom = 32 << 20;  // bytes of an array, at most

class Random {
 public:
  explicit Random(unsigned seed) : random_(seed) {}
  std::int64_t below(std::int64_t n) {
    return static_cast<std::int64_t>(random_() % static_cast<std::uint64_t>(n));
  }
  bool one_in(int n) { return below(n) == 0; }
  template <class T>
  T of(std::initializer_list<T> list) {
    return list.begin()[below(static_cast<std::int64_t>(list.size()))];
  }

 private:
  std::minstd_rand random_;
};

// Memory between pages that cannot be touched.
class Guarded {
 public:
  Guarded()
      : memory_(static_cast<std::byte*>(mmap(nullptr, kRoom + 2 * kPage, PROT_READ | PROT_WRITE,
                                             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))) {
    REQUIRE(memory_ != MAP_FAILED);
    REQUIRE(mprotect(memory_, kPage, PROT_NONE) == 0);
    REQUIRE(mprotect(memory_ + kPage + kRoom, kPage, PROT_NONE) == 0);
  }
  ~Guarded() { munmap(memory_, kRoom + 2 * kPage); }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;
  std::byte* begin() const { return memory_ + kPage; }
  std::byte* end() const { return begin() + kRoom; }

 private:
  std::byte* memory_;
};

// Elements of a type, of which arrays are filled.
const std::vector<std::byte>& samples(Dtype dtype) {
  static std::map<Dtype, std::vector<std::byte>> all;
  std::vector<std::byte>& bytes = all[dtype];
  if (!bytes.empty()) return bytes;
  std::mt19937 random(7);
  constexpr float special[] = {0.0f,     -0.0f,  1.0f,    -1.0f, INFINITY, -INFINITY,
                               NAN,      1e-40f, -1e-40f, 3e38f, 65504.0f, 65520.f,
                               0x1p-24f, 2.5f,   -2.5f,   1e9f,  0x1p31f,  -0x1p31f};
  const auto number = [&] {
    const auto word = static_cast<std::uint32_t>(random());
    switch (word % 8) {
      case 0: return special[random() % std::size(special)];
      case 1: {
        const auto bits = static_cast<std::uint32_t>(random());
        float x;
        std::memcpy(&x, &bits, 4);
        return x;
      }
      case 2: return static_cast<float>(static_cast<int>(random() % 64) - 32);
      default: return static_cast<float>(static_cast<std::int32_t>(random())) / 4e8f;
    }
  };
  visit(dtype, [&]<class T>(Type<T>) {
    bytes.resize((1 << 14) * sizeof(T));
    for (std::size_t at = 0; at < bytes.size(); at += sizeof(T)) {
      T element;
      const auto bits = std::uint64_t{random()} << 32 | random();
      if constexpr (std::is_same_v<T, bool>)
        element = bits & 1;
      else if constexpr (std::is_integral_v<T>)
        element = static_cast<T>(bits % 3 ? bits >> 20 : bits % 64 - 32);
      else if constexpr (std::is_same_v<T, float16_t>)
        element = to_float16(number());
      else if constexpr (std::is_same_v<T, bfloat16_t>)
        element = to_bfloat16(number());
      else if constexpr (std::is_same_v<T, complex64_t>)
        element = {number(), number()};
      else
        element = static_cast<T>(number());
      std::memcpy(&bytes[at], &element, sizeof element);
    }
  });
  return bytes;
}

// Fills so many bytes with elements of the type.
void fill(std::byte* at, std::size_t bytes, Dtype dtype, Random& random) {
  const std::vector<std::byte>& from = samples(dtype);
  const std::size_t size = size_of(dtype), half = from.size() / 2;
  const std::size_t skipped = static_cast<std::size_t>(random.below(half / size)) * size;
  for (std::size_t done = 0; done < bytes; done += half)
    std::memcpy(at + done, from.data() + skipped, std::min(half, bytes - done));
}

// ---- Graphs ----

Dtype dtype(Random& random) {
  if (random.one_in(2)) return float32;
  return random.of({float16, bfloat16, bool_, int8, int16, int32, uint8, uint16, uint32, float16,
                    bfloat16, int32, int64, uint64, float64, complex64});
}

std::int64_t extent(Random& random) {
  return random.of<std::int64_t>({1, 2, 3, 5, 7, 8, 15, 16, 17, 31, 33, 63, 64, 65, 100, 130});
}
std::int64_t long_extent(Random& random) {
  if (random.one_in(2)) return 1 + random.below(9000);
  return random.of<std::int64_t>({64, 128, 512, 513, 1000, 1024, 4095, 4096, 4097, 8192, 8255});
}

Shape domain(Random& random) {
  if (random.one_in(800)) return {1 + random.below(3), 60000 + random.below(90000)};
  if (random.one_in(20)) return {1 + random.below(1200), 50 + random.below(50)};
  switch (random.below(8)) {
    case 0: return {long_extent(random)};
    case 1: return {1 + random.below(4), long_extent(random)};
    case 2: return {1 + random.below(40), extent(random)};
    case 3: return {long_extent(random), 1 + random.below(3)};
    case 4: return {1 + random.below(3), 1 + random.below(3), 1 + random.below(1100)};
    default: {
      Shape shape;
      std::int64_t n = 1;
      for (std::int64_t k = 1 + random.below(4); k > 0; --k) {
        shape.push_back(extent(random));
        n *= shape.back();
      }
      while (n > 5000) {
        auto largest = std::max_element(shape.begin(), shape.end());
        n = n / *largest * ((*largest + 1) / 2);
        *largest = (*largest + 1) / 2;
      }
      return shape;
    }
  }
}

// An array whose values are never read.
array input(const Shape& shape, Dtype dtype) {
  static std::byte nothing[64];
  return array(borrow(nothing, sizeof nothing, {}), shape, dtype);
}

// The outputs of a random graph.
Arrays graph(Random& random) {
  const Shape whole = domain(random);
  Arrays known, out;
  const auto leaf = [&] {
    const Dtype type = dtype(random);
    if (random.one_in(6))
      return astype(array(static_cast<float>(random.below(9) - 3) / 2), type, DeviceType::cpu);
    Shape shape = whole;
    if (random.one_in(3))
      for (std::int64_t& d : shape)
        if (random.one_in(2)) d = 1;
    if (random.one_in(8)) shape = {};
    return input(shape, type);
  };
  for (std::int64_t k = 1 + random.below(6); k > 0; --k) known.push_back(leaf());
  const auto any = [&]() -> array {
    const auto n = static_cast<std::int64_t>(known.size());
    return known[random.one_in(3) ? random.below(n)
                                  : n - 1 - random.below(std::min<std::int64_t>(n, 4))];
  };
  const auto reduced = [&](const array& x, bool keeps) {
    Axes axes;
    for (int i = 0; i < static_cast<int>(x.shape().size()); ++i)
      if (random.one_in(2)) axes.push_back(i);
    if (random.one_in(4) || axes.empty())
      return reduce(static_cast<ReduceOp>(random.below(6)), x, {}, keeps, DeviceType::cpu);
    return reduce(static_cast<ReduceOp>(random.below(6)), x, axes, keeps, DeviceType::cpu);
  };
  const bool reduces = random.one_in(2);
  const std::int64_t steps = random.one_in(20) ? 40 + random.below(160) : 1 + random.below(20);
  for (std::int64_t k = 0; k < steps; ++k) {
    try {
      const auto op = static_cast<Op>(random.below(kOpCount));
      if (op == Op::cast || random.one_in(12)) {
        known.push_back(astype(any(), dtype(random), DeviceType::cpu));
      } else if (reduces && random.one_in(5)) {
        known.push_back(reduced(any(), true));
      } else if (op == Op::select) {
        known.push_back(select(less(any(), any(), DeviceType::cpu), any(), any(), DeviceType::cpu));
      } else {
        Arrays in;
        for (int i = 0; i < info(op).arity; ++i) in.push_back(any());
        known.push_back(elementwise(op, in, DeviceType::cpu));
      }
    } catch (const std::invalid_argument&) {  // not of this type
    }
  }
  for (std::int64_t k = random.below(4); k >= 0; --k) out.push_back(any());
  if (reduces && random.one_in(2)) try {
      out.push_back(reduced(any(), false));
    } catch (const std::invalid_argument&) {
    }
  return out;
}

// ---- Memory ----

// An array of a program, somewhere in guarded memory.
struct Place {
  Dtype dtype;
  Strides strides;
  std::int64_t first = 0, last = 0;  // elements, from the one at index zero
  Guarded* memory = nullptr;
  std::byte *begin = nullptr, *end = nullptr;
  std::byte* data() const { return begin - first * static_cast<std::int64_t>(size_of(dtype)); }
  std::size_t bytes() const { return static_cast<std::size_t>(end - begin); }
};

// Strides over a domain of an array with these axes, each element in a place of its own if it is
// written.
Place placed(Random& random, Dtype dtype, Axes axes, const Shape& domain, bool written) {
  Place p{dtype, Strides(domain.size(), 0)};
  std::int64_t elements = 1;
  for (const std::int64_t d : domain) elements *= d;
  const bool odd = random.one_in(3) && elements < 100'000;
  if (odd && !written && random.one_in(2))
    for (std::size_t i = axes.size(); i-- > 1;) std::swap(axes[i], axes[random.below(i + 1)]);
  std::int64_t stride = odd && random.one_in(4) ? 2 : 1;
  for (std::size_t i = axes.size(); i-- > 0;) {
    const int axis = axes[i];
    p.strides[axis] = odd && random.one_in(6) ? -stride : stride;
    stride *= domain[axis];
    if (odd && random.one_in(4)) stride += 1 + random.below(9);
    if (odd && !written && random.one_in(6)) p.strides[axis] = 0;
    (p.strides[axis] < 0 ? p.first : p.last) += p.strides[axis] * (domain[axis] - 1);
  }
  return p;
}

void put(Place& p, Random& random, Guarded& memory) {
  p.memory = &memory;
  const std::size_t size = size_of(p.dtype);
  const std::size_t bytes = static_cast<std::size_t>(p.last - p.first + 1) * size;
  REQUIRE(bytes <= kRoom);
  std::size_t skipped = kRoom - bytes;
  if (random.one_in(3))
    skipped = std::min(skipped, static_cast<std::size_t>(random.below(64)) * size);
  p.begin = memory.begin() + skipped;
  p.end = p.begin + bytes;
}

struct Arrangement {
  std::vector<Place> inputs, outputs;
  std::vector<BoundPort> in, out;
  std::vector<bool> taken;  // inputs whose memory an output has
  bool overwrites = false;
};

Arrangement arrange(const Program& p, const Shape& domain, Random& random) {
  static std::vector<std::unique_ptr<Guarded>> memories;
  std::size_t used = 0;
  const auto memory = [&]() -> Guarded& {
    if (used == memories.size()) memories.push_back(std::make_unique<Guarded>());
    return *memories[used++];
  };
  Arrangement a;
  a.taken.resize(p.inputs.size());
  std::vector<int> donors;
  for (const ProgramOutput& o : p.outputs) {
    int donor = -1;
    for (const std::uint32_t i : o.donors)
      if (donor < 0 && !a.taken[i] && random.one_in(2)) donor = static_cast<int>(i);
    if (donor >= 0) a.taken[donor] = true;
    donors.push_back(donor);
  }
  for (std::size_t i = 0; i < p.inputs.size(); ++i) {
    const ProgramInput& in = p.inputs[i];
    a.inputs.push_back(placed(random, in.dtype, in.axes, domain, a.taken[i]));
    put(a.inputs[i], random, memory());
  }
  for (std::size_t k = 0; k < p.outputs.size(); ++k) {
    const ProgramOutput& o = p.outputs[k];
    const Dtype dtype = p.values[o.value].dtype;
    if (donors[k] >= 0) {
      a.overwrites = true;
      a.outputs.push_back(a.inputs[donors[k]]);
      REQUIRE(size_of(a.outputs[k].dtype) == size_of(dtype));
      a.outputs[k].dtype = dtype;
    } else {
      a.outputs.push_back(placed(random, dtype, o.axes, domain, true));
      put(a.outputs[k], random, memory());
    }
  }
  for (const Place& x : a.inputs) a.in.push_back({x.data(), x.strides});
  for (const Place& x : a.outputs) a.out.push_back({x.data(), x.strides});
  return a;
}

// ---- Comparison ----

bool is_nan(Dtype dtype, const std::byte* at) {
  return visit(dtype, [&]<class T>(Type<T>) {
    T x;
    std::memcpy(&x, at, sizeof x);
    if constexpr (requires { x.bits; })
      return std::isnan(to_float(x));
    else if constexpr (std::is_floating_point_v<T>)
      return std::isnan(x);
    else
      return false;
  });
}

// The first element that differs, by its place among all, or -1.
std::int64_t difference(const Place& p, const std::byte* expected) {
  if (std::memcmp(p.begin, expected, p.bytes()) == 0) return -1;
  const Dtype part = p.dtype == complex64 ? float32 : p.dtype;
  for (std::size_t i = 0; i < p.bytes(); i += size_of(part))
    if (std::memcmp(p.begin + i, expected + i, size_of(part)) != 0 &&
        !(is_nan(part, p.begin + i) && is_nan(part, expected + i)))
      return static_cast<std::int64_t>(i / size_of(part));
  return -1;
}

std::string text(const Place& p) {
  std::ostringstream out;
  out << name_of(p.dtype) << " strides";
  for (const std::int64_t s : p.strides) out << ' ' << s;
  out << " bytes " << p.bytes() << " at " << (p.begin - p.memory->begin()) % 64;
  return out.str();
}

// Where a program's results as code differ, or nothing.
std::string differences(const Program& program, const Shape& domain, Random& random,
                        const std::vector<std::uint64_t>& constants, cpu::LayoutClass& layout,
                        Lowered& interpreted, Lowered& code) {
  Arrangement a = arrange(program, domain, random);
  const Binding binding{{domain.data(), domain.size()}, constants, a.in, a.out};
  if (const cpu::LayoutClass found = classify(program, binding);
      !(found == layout) || interpreted.passes.empty()) {
    layout = found;
    interpreted = lower(program, layout);
    code = with_code(interpreted, random.below(2));
  }
  std::vector<std::vector<std::byte>> before, after;
  std::vector<Place*> all;
  for (Place& p : a.inputs) all.push_back(&p);
  for (Place& p : a.outputs) all.push_back(&p);
  for (Place& p : a.outputs) fill(p.begin, p.bytes(), p.dtype, random);
  for (Place& p : a.inputs) fill(p.begin, p.bytes(), p.dtype, random);
  for (const Place* p : all) before.emplace_back(p->begin, p->end);
  run(interpreted, binding, a.overwrites);
  for (const Place* p : all) after.emplace_back(p->begin, p->end);
  for (std::size_t k = 0; k < all.size(); ++k)
    std::copy(before[k].begin(), before[k].end(), all[k]->begin);
  run(code, binding, a.overwrites);
  for (std::size_t k = 0; k < all.size(); ++k) {
    if (k < a.inputs.size() && a.taken[k]) continue;  // it is compared as an output
    const std::int64_t at = difference(*all[k], after[k].data());
    if (at < 0) continue;
    std::ostringstream out;
    out << (k < a.inputs.size() ? "input " : "output ")
        << (k < a.inputs.size() ? k : k - a.inputs.size()) << " at " << at << "; domain";
    for (const std::int64_t d : domain) out << ' ' << d;
    out << (a.overwrites ? "; overwrites" : "") << "; geometry "
        << static_cast<int>(layout.geometry) << " by rows " << layout.by_rows << " in blocks "
        << layout.in_blocks << "\n";
    const std::size_t size = size_of(all[k]->dtype == complex64 ? float32 : all[k]->dtype);
    for (const std::byte* from : {after[k].data(), all[k]->begin}) {
      std::uint64_t bits = 0;
      std::memcpy(&bits, from + static_cast<std::size_t>(at) * size, size);
      out << std::hex << bits << std::dec << ' ';
    }
    for (const Place* p : all) out << "\n" << text(*p);
    return out.str();
  }
  return {};
}

unsigned setting(const char* name, unsigned otherwise) {
  const char* given = std::getenv(name);
  return given ? static_cast<unsigned>(std::strtoul(given, nullptr, 10)) : otherwise;
}

// Runs the programs of a graph both ways, several times each.
void compare(const Arrays& outputs, Random& random, const std::string& what) {
  std::shared_ptr<const Plan> plan;
  Tape tape;
  {
    const std::scoped_lock lock(graph_mutex());
    tape = record(outputs, limits_of);
    plan = plan_of(tape, limits_of);
  }
  for (const Step& step : plan->steps) {
    if (!step.program || step.program->products) continue;
    const Program& program = *step.program;
    std::vector<std::uint64_t> constants;
    for (const std::uint32_t c : program.constants) constants.push_back(tape.constants[c]->scalar);
    Shape domain = domain_of(program, tape.nodes.data());
    cpu::LayoutClass layout;
    Lowered interpreted, code;
    for (int again = 0; again < 3; ++again) {
      if (again == 1)  // other numbers for the same code
        for (std::int64_t& d : domain)
          if (d > 1) d = std::max<std::int64_t>(2, d / 2 + random.below(d));
      const std::string found =
          differences(program, domain, random, constants, layout, interpreted, code);
      INFO(what << "\n" << to_string(*plan, tape));
      REQUIRE(found == "");
    }
  }
}

}  // namespace

TEST_CASE("random programs as code give the interpreter's bytes") {
  if (cpu::machine::use() == cpu::machine::Use::never) return;
  const unsigned seed = setting("CERMET_PROGRAMS_SEED", 1), count = setting("CERMET_PROGRAMS", 300);
  const int threads = get_num_threads();
  for (unsigned i = seed; i < seed + count; ++i) {
    Random random(i);
    for (int k = 0; k < 8; ++k) random.below(2);
    set_num_threads(random.one_in(10) ? 2 : 1);
    compare(graph(random), random, "seed " + std::to_string(i));
  }
  set_num_threads(threads);
}

TEST_CASE("programs as code that differed once") {
  if (cpu::machine::use() == cpu::machine::Use::never) return;
  constexpr auto cpu = DeviceType::cpu;
  Random random(1);
  const auto check = [&](const array& a) { compare({a}, random, "chosen"); };
  const array x = input({6, 40}, float32), y = input({6, 40}, float32);
  // Nothing of a pass counts.
  check([&] { return imag(sum(x, {1}, true, cpu), cpu); }());
  // A rare argument that is known when the code is made; two of them.
  const array zero = imag(x, cpu), nan = divide(zero, zero, cpu);
  check(power(nan, y, cpu));
  check(power(nan, zero, cpu));
  // A place has bools that are read and floats that are written, between calls of loops.
  const array wide = input({6, 40}, float64), row = input({1, 40}, float32);
  array c = less(astype(x, float64, cpu), wide, cpu);
  for (int k = 0; k < 6; ++k) {
    const array z = greater(astype(c, float32, cpu), y, cpu);
    c = logical_xor(not_equal(row, astype(z, float32, cpu), cpu),
                    less(astype(x, float64, cpu), wide, cpu), cpu);
  }
  check(c);
  // A row of one repeated element, whose minimum is the loop's first step.
  for (int k = 0; k < 20; ++k)
    check(add(reduce(ReduceOp::min, x, {1}, true, cpu),
              reduce(ReduceOp::min, input({6, 40}, uint32), {1}, true, cpu), cpu));
}

TEST_CASE("functions are counted, go with their programs, and are not more than so many") {
  if (cpu::machine::use() == cpu::machine::Use::never) return;
  const cpu::machine::Counts before = cpu::machine::counts();
  {
    Random random(1);
    compare({exp(input({6, 40}, float32), DeviceType::cpu)}, random, "counted");
    CHECK(cpu::machine::counts().made > before.made);
    std::vector<std::unique_ptr<cpu::machine::ExecutableMemory>> many;
    const std::uint8_t code[] = {0xc3};
    while (cpu::machine::ExecutableMemory::is_available() && many.size() < 100'000)
      many.push_back(std::make_unique<cpu::machine::ExecutableMemory>(code));
    CHECK(many.size() > 1000);
    CHECK(many.size() < 20'000);
    CHECK(cpu::machine::use() == cpu::machine::Use::never);
    CHECK(cpu::machine::counts().functions == before.functions + many.size());
  }
  CHECK(cpu::machine::use() != cpu::machine::Use::never);
  CHECK(cpu::machine::counts().functions == before.functions);
  CHECK(cpu::machine::counts().bytes == before.bytes);
}
