// A third backend, which knows float32 arithmetic alone and does nothing before somebody waits:
// what evaluation promises a backend, and what it asks of one.
#include <doctest/doctest.h>

#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <mutex>

#include "cermet/cermet.h"
#include "eval/backend.h"
#include "ops/cpp.h"

using namespace cermet;

namespace {

namespace functions = cpu::plain;

struct Function {
  float (*unary)(float) = nullptr;
  float (*binary)(float, float) = nullptr;
};
const std::map<Op, Function>& table() {
  static const std::map<Op, Function> it = {
      {Op::exp, {[](float x) { return functions::exp(x); }, nullptr}},
      {Op::log1p, {[](float x) { return functions::log1p(x); }, nullptr}},
      {Op::sin, {[](float x) { return functions::sin(x); }, nullptr}},
      {Op::tanh, {[](float x) { return functions::tanh(x); }, nullptr}},
      {Op::rsqrt, {[](float x) { return functions::rsqrt(x); }, nullptr}},
      {Op::negative, {[](float x) { return -x; }, nullptr}},
      {Op::add, {nullptr, [](float x, float y) { return x + y; }}},
      {Op::subtract, {nullptr, [](float x, float y) { return x - y; }}},
      {Op::multiply, {nullptr, [](float x, float y) { return x * y; }}},
      {Op::divide, {nullptr, [](float x, float y) { return x / y; }}},
  };
  return it;
}

// Work in order, done when its ticket, or a later one, is waited for.
struct Waiting {
  std::mutex mutex{};
  std::deque<std::function<void()>> work;
  std::size_t done = 0;
};

class LateTicket final : public Ticket {
 public:
  LateTicket(std::shared_ptr<Waiting> waiting, std::size_t number)
      : waiting_(std::move(waiting)), number_(number) {}
  std::exception_ptr wait() override {
    const std::scoped_lock lock(waiting_->mutex);
    while (waiting_->done <= number_ && !error_) {
      try {
        ++waiting_->done;
        waiting_->work[waiting_->done - 1]();
      } catch (...) {
        error_ = std::current_exception();
      }
    }
    return error_;
  }

 private:
  const std::shared_ptr<Waiting> waiting_;
  const std::size_t number_;
  std::exception_ptr error_;
};

struct Counts {
  int prepared = 0, programs = 0, copies = 0, waits = 0;
};

// A program to be run later. The plan outlives it; nodes and numbers are the caller's only.
class Later {
 public:
  explicit Later(const ProgramRun& run)
      : p_(run.program),
        domain_(run.domain),
        constants_(run.constants),
        inputs_(ports(run.inputs)),
        outputs_(ports(run.outputs)) {}

  void interpret() const {
    Shape index(domain_.size());
    std::int64_t size = 1;
    for (const std::int64_t d : domain_) size *= d;
    for (std::int64_t n = size; n-- > 0;) {
      const auto at = [&](const Port& port) -> float& {
        std::int64_t offset = port.offset;
        for (std::size_t d = 0; d < index.size(); ++d) offset += index[d] * port.strides[d];
        return static_cast<float*>(port.buffer->data())[offset];
      };
      std::vector<float> values(p_.values.size());
      for (ValueId v = 0; v < p_.values.size(); ++v) {
        const Value& x = p_.values[v];
        if (x.from == Value::From::constant)
          std::memcpy(&values[v], &constants_[x.index], sizeof(float));
        if (x.from == Value::From::input) values[v] = at(inputs_[x.index]);
      }
      for (const Instruction& ins : p_.instructions) {
        if (ins.op == Op::cast) {
          values[ins.out] = values[ins.in[0]];
          continue;
        }
        const Function& f = table().at(ins.op);
        values[ins.out] =
            f.unary ? f.unary(values[ins.in[0]]) : f.binary(values[ins.in[0]], values[ins.in[1]]);
      }
      for (std::size_t k = 0; k < p_.outputs.size(); ++k)
        at(outputs_[k]) = values[p_.outputs[k].value];
      for (std::size_t d = index.size(); d-- > 0;) {
        if (++index[d] < domain_[d]) break;
        index[d] = 0;
      }
    }
  }

 private:
  struct Port {
    Ref<Buffer> buffer;
    std::int64_t offset;
    Strides strides;
  };
  static std::vector<Port> ports(const SmallVector<BoundArray, 8>& arrays) {
    std::vector<Port> out;
    for (const BoundArray& a : arrays) out.push_back({a.node->buffer, a.node->offset, a.strides});
    return out;
  }

  const Program& p_;
  const Shape domain_;
  const SmallVector<std::uint64_t, 8> constants_;
  const std::vector<Port> inputs_, outputs_;
};

class LateQueue final : public cermet::Queue {
 public:
  explicit LateQueue(Counts& counts) : counts_(counts) {}
  Ref<Buffer> allocate(std::size_t bytes) override { return cermet::allocate(bytes); }
  // Nothing that waits may be overwritten by the CPU.
  std::uint32_t holds(const Buffer&) const override { return 0; }
  void wait_for(Ticket& ticket) override {
    ++counts_.waits;
    ticket.wait();
  }

  std::shared_ptr<Ticket> run(const Kernel&, const ProgramRun& run) override {
    ++counts_.programs;
    return later([run = Later(run)] { run.interpret(); });
  }
  std::shared_ptr<Ticket> run(Node&, std::span<Node* const>) override {
    throw std::logic_error("late: it takes no primitive");
  }
  std::shared_ptr<Ticket> copy(const Node& from, const Node& to) override {
    ++counts_.copies;
    const array in(from.buffer, from.shape, from.dtype, from.strides, from.offset);
    const Ref<Buffer> out = to.buffer;
    return later([in, out] {
      const std::vector<float> values = in.to_vector<float>();
      std::memcpy(out->data(), values.data(), values.size() * sizeof(float));
    });
  }

 private:
  std::shared_ptr<Ticket> later(std::function<void()> work) {
    waiting_->work.push_back(std::move(work));
    return std::make_shared<LateTicket>(waiting_, waiting_->work.size() - 1);
  }
  Counts& counts_;
  const std::shared_ptr<Waiting> waiting_ = std::make_shared<Waiting>();
};

class LateBackend final : public Backend {
 public:
  explicit LateBackend(Counts& counts) : counts_(counts) {}
  std::string_view name() const override { return "late"; }
  const Limits& limits() const override {
    static constexpr Limits limits{8, 8, 16, nullptr, [](const Node&) { return false; }};
    return limits;
  }
  std::map<std::string, std::variant<std::string, std::int64_t>> info() const override {
    return {{"device_name", std::string("late")}};
  }
  std::unique_ptr<cermet::Queue> queue(Stream) override {
    return std::make_unique<LateQueue>(counts_);
  }
  bool takes(const Node&) const override { return false; }
  bool takes(const ProgramRun& run) const override {
    for (const Value& v : run.program.values)
      if (v.dtype != float32) return false;
    for (const Instruction& ins : run.program.instructions)
      if (ins.is_reduce || (ins.op != Op::cast && !table().contains(ins.op))) return false;
    return true;
  }
  bool takes(Dtype copied) const override { return copied == float32; }
  LayoutClass classify(const ProgramRun&) const override { return {}; }
  std::shared_ptr<const Kernel> prepare(const ProgramRun&) override {
    ++counts_.prepared;
    return std::make_shared<Kernel>();
  }

 private:
  Counts& counts_;
};

constexpr Device kLate{DeviceType::gpu, 7};

Counts& counts() {
  static Counts* const it = [] {
    auto* made = new Counts;  // the backend stays for good
    register_backend(kLate, std::make_unique<LateBackend>(*made));
    return made;
  }();
  return *it;
}

array values(const Shape& shape, StreamOrDevice s) {
  return divide(subtract(reshape(astype(arange(element_count(shape)), float32), shape), 50.0f),
                13.0f, s);
}

bool same_bits(const array& a, const array& b) {
  const std::vector<float> x = a.to_vector<float>(), y = b.to_vector<float>();
  return a.shape() == b.shape() && std::memcmp(x.data(), y.data(), x.size() * sizeof(float)) == 0;
}

}  // namespace

TEST_CASE("third backend: it is a device like any other") {
  counts();
  CHECK(is_available(kLate));
  CHECK(std::get<std::string>(device_info(kLate).at("device_name")) == "late");
  CHECK_THROWS_AS(register_backend(kLate, nullptr), std::invalid_argument);
  CHECK_THROWS_AS(default_stream({DeviceType::gpu, 9}), std::invalid_argument);
  CHECK(new_stream(kLate).device == kLate);
}

TEST_CASE("third backend: its operations have the bits of the CPU's") {
  counts();
  const array x = values({4, 5, 6}, DeviceType::cpu);
  const auto both = [&](auto f) { CHECK(same_bits(f(StreamOrDevice(kLate)), f(DeviceType::cpu))); };
  both([&](StreamOrDevice s) { return exp(x, s); });
  both([&](StreamOrDevice s) { return log1p(abs(x, DeviceType::cpu), s); });
  both([&](StreamOrDevice s) { return sin(x, s); });
  both([&](StreamOrDevice s) { return tanh(x, s); });
  both([&](StreamOrDevice s) { return rsqrt(abs(x, DeviceType::cpu), s); });
  both([&](StreamOrDevice s) { return add(multiply(x, x, s), negative(x, s), s); });
  // Strided, broadcast, and with copies in between.
  both([&](StreamOrDevice s) { return multiply(transpose(x, {2, 0, 1}, s), 3.0f, s); });
  both([&](StreamOrDevice s) { return add(x, slice(x, {0, 0, 0}, {4, 1, 6}, s), s); });
  both([&](StreamOrDevice s) {
    return exp(reshape(transpose(exp(x, s), {2, 1, 0}, s), {10, 12}, s), s);
  });
}

TEST_CASE("third backend: what it does not take runs on the CPU, between its own steps") {
  Counts& c = counts();
  const array x = values({30, 4}, DeviceType::cpu);
  eval({x});
  const int programs = c.programs;
  const auto f = [&](StreamOrDevice s) {
    const array y = exp(x, s);
    return multiply(matmul(y, transpose(tanh(y, s), {1, 0}, s), s), sum(y, Axes{0, 1}, false, s),
                    s);
  };
  CHECK(same_bits(f(kLate), f(DeviceType::cpu)));
  CHECK(c.programs > programs);
}

TEST_CASE("third backend: without epilogues what follows a product is a program of its own") {
  Counts& c = counts();
  const array x = values({30, 4}, DeviceType::cpu), y = values({4, 30}, DeviceType::cpu);
  const auto f = [&](StreamOrDevice s) { return exp(matmul(x, y, s), s); };
  const array expected = f(DeviceType::cpu);
  eval({expected, x, y});
  const int programs = c.programs;
  CHECK(same_bits(f(kLate), expected));
  CHECK(c.programs == programs + 1);
}

TEST_CASE("third backend: kernels are prepared once for a structure") {
  Counts& c = counts();
  const auto run = [&](std::int64_t n, float k) {
    eval({multiply(exp(values({n}, DeviceType::cpu), kLate), k, kLate)});
  };
  run(5, 2);
  const int prepared = c.prepared;
  run(6, 3);
  run(7, 4);
  CHECK(c.prepared == prepared);
}

TEST_CASE("third backend: streams wait for each other, and errors reach what follows") {
  Counts& c = counts();
  const Stream one = new_stream(kLate), other = new_stream(kLate);
  const array x = values({8}, DeviceType::cpu);
  const int waits = c.waits;
  const array y = add(exp(x, one), sin(exp(x, one), other), other);
  CHECK(same_bits(y, add(exp(x), sin(exp(x)))));
  CHECK(c.waits > waits);

  const array bad = gather(x, {array({99})}, Axes{0}, DeviceType::cpu);
  const array follows = exp(bad, kLate);
  async_eval({follows});
  CHECK_THROWS(follows.eval());
}
