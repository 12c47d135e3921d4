// Prints a line for each operation or composition and type: its name, the type and a digest of its
// result's bytes, in which a nan is a nan. `tests/bits` compares what builds and settings print.
//
// Inputs are bit patterns made by integer arithmetic. Options (any number): `alone` evaluates each
// node by itself, `strided` reads every second element of larger arrays, `parts` computes rows in
// three pieces.
#include <algorithm>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <string>
#include <unordered_set>
#include <vector>

#include "cermet/cermet.h"

using namespace cermet;

namespace {

bool alone = false, strided = false, parts = false;

constexpr std::int64_t kCount = 120'000;
const Dtype kTypes[] = {bool_, uint8, uint16,  uint32,   uint64,  int8,     int16,
                        int32, int64, float16, bfloat16, float32, complex64};
const Dtype kInexact[] = {float16, bfloat16, float32, complex64};
const Dtype kReal[] = {float16, bfloat16, float32};

// ---- Inputs -------------------------------------------------------------------------------------

std::uint64_t mix(std::uint64_t x) {  // SplitMix64 (Steele, Lea and Flood 2014)
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

struct Format {
  int exponent, mantissa;  // bits
};
Format format_of(Dtype t) {
  return t == float16 ? Format{5, 10} : t == bfloat16 ? Format{8, 7} : Format{8, 23};
}

// Any pattern for half of the elements: subnormals, infinities and nans among them. The others are
// of moderate size, where most functions have something to do.
std::uint32_t float_pattern(Dtype t, std::uint64_t random, bool moderate) {
  const auto [exponent, mantissa] = format_of(t);
  const std::uint32_t all = (1ull << (1 + exponent + mantissa)) - 1;
  const auto bits = static_cast<std::uint32_t>(random) & all;
  if (!moderate && (random >> 40) % 2 == 0) return bits;
  const std::uint32_t bias = (1u << (exponent - 1)) - 1;
  const std::uint32_t e = bias - 6 + static_cast<std::uint32_t>((random >> 41) % 12);
  const std::uint32_t keep = ~(((1u << exponent) - 1) << mantissa) & all;
  return (bits & keep) | (e << mantissa);
}

// Zeros, the smallest and largest subnormal and normal numbers, one, infinities and nan.
std::uint32_t special(Dtype t, std::uint64_t i) {
  const auto [exponent, mantissa] = format_of(t);
  const std::uint32_t one = ((1u << (exponent - 1)) - 1) << mantissa;
  const std::uint32_t infinity = ((1u << exponent) - 1) << mantissa;
  const std::uint32_t list[] = {0,
                                1,
                                (1u << mantissa) - 1,
                                1u << mantissa,
                                one,
                                one + 1,
                                one - 1,
                                2 * (one >> 1),
                                infinity - 1,
                                infinity,
                                infinity + (1u << (mantissa - 1))};
  const std::uint32_t sign = static_cast<std::uint32_t>(i % 2) << (exponent + mantissa);
  return list[i / 2 % std::size(list)] | sign;
}

array make(Dtype t, const Shape& shape, std::uint64_t seed, bool moderate) {
  const std::int64_t n = element_count(shape);
  std::vector<std::byte> bytes(static_cast<std::size_t>(n) * size_of(t));
  const std::size_t part = is_complex(t) ? 4 : size_of(t);
  for (std::size_t i = 0; i < bytes.size() / part; ++i) {
    const std::uint64_t random = mix(seed * 0x100000000 + i);
    // The specials of two inputs meet in all pairs.
    const std::uint64_t which = seed % 2 ? i % 22 : i / 22;
    std::uint64_t bits = random;
    if (t == bool_)
      bits = random % 2;
    else if (is_inexact(t))
      bits = !moderate && i < 484 ? special(t, which) : float_pattern(t, random, moderate);
    else if ((random >> 60) == 0)
      bits = which % 3 ? which : 0 - which;
    std::memcpy(bytes.data() + i * part, &bits, part);  // little-endian, as all of Cermet
  }
  return visit(
      t, [&]<class T>(Type<T>) { return array(reinterpret_cast<const T*>(bytes.data()), shape); });
}

array input(Dtype t, const Shape& shape, std::uint64_t seed, bool moderate = false) {
  const array dense = make(t, shape, seed, moderate);
  if (!strided) return dense;
  const array doubled = repeat(dense, 2, -1);
  eval({doubled});
  Shape start(shape.size(), 0), step(shape.size(), 1);
  start.back() = 1;
  step.back() = 2;
  return slice(doubled, start, doubled.shape(), step);
}

// ---- Results ------------------------------------------------------------------------------------

// Evaluates the nodes that `a` depends on one by one.
void evaluate_alone(const array& a, std::unordered_set<const Node*>& done) {
  if (a.is_available() || !done.insert(a.node()).second) return;
  const SmallVector<array, 2> inputs = a.inputs();
  for (const array& in : inputs) evaluate_alone(in, done);
  a.eval();
}

class Digest {
 public:
  void add(const array& result) {
    if (alone) {
      std::unordered_set<const Node*> done;
      evaluate_alone(result, done);
    }
    const array a = contiguous(result);
    const void* const data = a.raw_data();
    const auto bytes = static_cast<std::size_t>(a.size()) * size_of(a.dtype());
    const std::size_t part = is_complex(a.dtype()) ? 4 : size_of(a.dtype());
    for (std::size_t i = 0; i < bytes; i += part) {
      std::uint64_t bits = 0;
      std::memcpy(&bits, static_cast<const std::byte*>(data) + i, part);
      if (is_inexact(a.dtype())) {
        const auto [exponent, mantissa] = format_of(a.dtype());
        const std::uint64_t infinity = ((1ull << exponent) - 1) << mantissa;
        const std::uint64_t magnitude = bits & ((1ull << (exponent + mantissa)) - 1);
        if (magnitude > infinity) bits = infinity + 1;
      }
      value_ = mix(value_ ^ bits);
    }
  }
  std::uint64_t value() const { return value_; }

 private:
  std::uint64_t value_ = 0;
};

using Compute = std::function<array(const Arrays&)>;

// Prints the digest of compute(inputs); `rows`: its rows, along the first axis, are independent.
void line(const std::string& name, Dtype t, const Arrays& inputs, const Compute& compute,
          bool rows = true) {
  Digest digest;
  // An operation before it, which changes nothing, so that there is something to fuse with.
  const auto computed = [&](Arrays in) {
    for (array& a : in) a = select(equal(arange(a.shape(-1)), array(-1)), zeros_like(a), a);
    digest.add(compute(in));
  };
  try {
    const std::int64_t n = inputs[0].shape(0);
    if (!parts || !rows) {
      computed(inputs);
    } else {
      const std::int64_t cuts[] = {0, n / 3 + 1, n / 2 + 1, n};
      for (int i = 0; i < 3; ++i) {
        Arrays piece;
        for (const array& a : inputs) {
          Shape start(a.shape().size(), 0), stop = a.shape();
          start[0] = cuts[i];
          stop[0] = cuts[i + 1];
          piece.push_back(slice(a, start, stop));
        }
        computed(piece);
      }
    }
  } catch (const std::invalid_argument&) {
    return;  // a type that the operation does not take
  }
  std::printf("%s %s %016" PRIx64 "\n", name.c_str(), std::string(name_of(t)).c_str(),
              digest.value());
}

// ---- What is computed ---------------------------------------------------------------------------

void elementwise_operations() {
  for (const OpInfo& row : elementwise_table())
    for (const Dtype t : kTypes) {
      Arrays inputs;
      for (int i = 0; i < row.arity; ++i)
        inputs.push_back(
            input(row.rule == Rule::choice && i == 0 ? bool_ : t, {kCount}, 1 + std::uint64_t(i)));
      const auto op = static_cast<Op>(&row - elementwise_table().data());
      line(std::string(row.name), t, inputs, [&](const Arrays& in) { return elementwise(op, in); });
    }
}

void casts() {
  for (const Dtype from : kTypes)
    for (const Dtype to : kTypes)
      line("astype " + std::string(name_of(from)), to, {input(from, {kCount}, 3)},
           [&](const Arrays& in) { return astype(in[0], to); });
}

// Rows of several lengths: below and above what a vector, a register block and a cache hold.
const Shape kRows[] = {{40'001, 3}, {7'000, 17}, {401, 300}, {29, 4'160}, {3, 40'961}};

std::string sized(const std::string& name, const Shape& shape) {
  return name + " " + std::to_string(shape[0]) + "x" + std::to_string(shape[1]);
}

void reductions() {
  for (const ReduceOp op :
       {ReduceOp::sum, ReduceOp::prod, ReduceOp::min, ReduceOp::max, ReduceOp::all, ReduceOp::any})
    for (const Dtype t : kTypes) {
      const std::string name(name_of(op));
      for (const Shape& shape : kRows) {
        const array a = input(t, shape, 4, true);
        line(sized(name + " rows", shape), t, {a},
             [&](const Arrays& in) { return reduce(op, in[0], {1}); });
        line(
            sized(name + " columns", shape), t, {a},
            [&](const Arrays& in) { return reduce(op, in[0], {0}); }, false);
        line(
            sized(name + " all", shape), t, {a},
            [&](const Arrays& in) { return reduce(op, in[0]); }, false);
      }
      line(name + " middle", t, {input(t, {31, 130, 30}, 5, true)},
           [&](const Arrays& in) { return reduce(op, in[0], {1}); });
      line(
          name + " outer", t, {input(t, {31, 130, 30}, 5, true)},
          [&](const Arrays& in) { return reduce(op, in[0], {0, 2}); }, false);
      line(name + " specials", t, {input(t, {401, 300}, 6)},
           [&](const Arrays& in) { return reduce(op, in[0], {1}); });
    }
}

void compositions() {
  for (const Shape& shape : kRows) {
    for (const Dtype t : kInexact) {
      const array a = input(t, shape, 7, true);
      const auto of_rows = [&](const char* name, const Compute& f) {
        line(sized(name, shape), t, {a}, f);
      };
      of_rows("softmax", [](const Arrays& in) { return softmax(in[0], Axes{-1}); });
      of_rows("softmax precise", [](const Arrays& in) { return softmax(in[0], Axes{-1}, true); });
      of_rows("logsumexp", [](const Arrays& in) { return logsumexp(in[0], {-1}); });
      of_rows("mean", [](const Arrays& in) { return mean(in[0], {-1}); });
      of_rows("var", [](const Arrays& in) { return var(in[0], {-1}); });
      of_rows("rms_norm", [](const Arrays& in) { return fast::rms_norm(in[0], {}, 1e-5); });
      of_rows("layer_norm", [](const Arrays& in) { return fast::layer_norm(in[0], {}, {}, 1e-5); });
      line(
          sized("var columns", shape), t, {a}, [](const Arrays& in) { return var(in[0], {0}); },
          false);
    }
    for (const Dtype t : kReal)
      line(sized("cross_entropy", shape), t,
           {input(t, shape, 8, true), input(uint32, {shape[0], 1}, 9)}, [&](const Arrays& in) {
             const array target = squeeze(remainder(in[1], array(shape[1], uint32)), Axes{1});
             return fast::cross_entropy(in[0], target);
           });
  }
}

void scans_and_sorts() {
  for (const Dtype t : kTypes)
    for (const Shape& shape : {kRows[2], kRows[4]}) {
      const array a = input(t, shape, 10, true);
      for (const ScanOp op :
           {ScanOp::sum, ScanOp::prod, ScanOp::min, ScanOp::max, ScanOp::logaddexp}) {
        const std::string name = "scan " + std::string(name_of(op));
        line(sized(name, shape), t, {a}, [&](const Arrays& in) { return scan(op, in[0], 1); });
        line(
            sized(name + " columns", shape), t, {a},
            [&](const Arrays& in) { return scan(op, in[0], 0, true, false); }, false);
      }
      const array any = input(t, shape, 11);
      line(sized("sort", shape), t, {any}, [](const Arrays& in) { return sort(in[0]); });
      line(sized("argsort", shape), t, {any}, [](const Arrays& in) { return argsort(in[0]); });
      line(sized("argmax", shape), t, {any}, [](const Arrays& in) { return argmax(in[0], 1); });
    }
}

void fourier_transforms() {
  for (const Shape& shape : {Shape{300, 64}, Shape{150, 255}, Shape{90, 1000}, Shape{40, 1021},
                             Shape{20, 4096}, Shape{3, 70'000}}) {
    const array z = input(complex64, shape, 13, true), x = input(float32, shape, 14, true);
    const std::int64_t n = shape[1];
    line(sized("fft", shape), complex64, {z}, [](const Arrays& in) { return fft::fft(in[0]); });
    line(sized("ifft", shape), complex64, {z}, [](const Arrays& in) { return fft::ifft(in[0]); });
    line(sized("rfft", shape), float32, {x}, [](const Arrays& in) { return fft::rfft(in[0]); });
    line(sized("irfft", shape), complex64, {z},
         [n](const Arrays& in) { return fft::irfft(in[0], n - 1); });
    line(
        sized("fft columns", shape), complex64, {z},
        [](const Arrays& in) { return fft::fft(in[0], {}, 0); }, false);
  }
}

void random_numbers() {
  const auto drawn = [](const char* name, Dtype t, const std::function<array(const array&)>& f) {
    line(name, t, {random::key(12)}, [&](const Arrays& in) { return f(in[0]); }, false);
  };
  const Shape shape{kCount};
  drawn("random bits", uint32, [&](const array& key) { return random::bits(shape, 4, key); });
  drawn("random int", int32,
        [&](const array& key) { return random::randint(-5, 1000, shape, int32, key); });
  for (const Dtype t : kReal) {
    drawn("random uniform", t, [&](const array& key) { return random::uniform(shape, t, key); });
    drawn("random normal", t,
          [&](const array& key) { return random::normal(shape, t, {}, {}, key); });
    drawn("random gumbel", t, [&](const array& key) { return random::gumbel(shape, t, key); });
    drawn("random laplace", t,
          [&](const array& key) { return random::laplace(shape, t, 0, 1, key); });
  }
}

}  // namespace

int main(int count, char** arguments) {
  for (int i = 1; i < count; ++i) {
    const std::string option = arguments[i];
    bool* const known = option == "alone"     ? &alone
                        : option == "strided" ? &strided
                        : option == "parts"   ? &parts
                                              : nullptr;
    if (!known) {
      std::fprintf(stderr, "bits: '%s' is not alone, strided or parts\n", option.c_str());
      return 2;
    }
    *known = true;
  }
  elementwise_operations();
  casts();
  reductions();
  compositions();
  scans_and_sorts();
  fourier_transforms();
  random_numbers();
}
