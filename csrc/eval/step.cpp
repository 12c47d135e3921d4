// One step: what it reads is bound to its plan, memory is found for its results, and a queue takes
// it.
#include <algorithm>
#include <cstring>

#include "eval/batch.h"
#include "eval/views.h"
#include "graph/primitives/arithmetic.h"
#include "graph/primitives/movement.h"

namespace cermet {

void Batch::run_step(const Step& step) {
  Backend& mine = backend_of(step.stream.device);
  Node& first = node(step.outputs[0]);
  if (step.kind == Step::Kind::program) {
    ProgramRun run = bind(*step.program, nodes_.data(), constants_.data());
    Backend& on = mine.takes(run) ? mine : host_backend();
    Queue& queue = prepare(step, on);
    return finish_step(step, queue, run_program(step, run, on, queue));
  }
  std::shared_ptr<Ticket> ticket;
  if (step.kind == Step::Kind::primitive) {
    Queue& queue = prepare(step, mine.takes(first) ? mine : host_backend());
    return finish_step(step, queue, run_primitive(step, first, queue));
  }
  const bool copies = mine.takes(first.dtype) && mine.takes(source_of(step).dtype);
  Queue& queue = prepare(step, copies ? mine : host_backend());
  make_view(first, source_of(step), [&](const Node& from, Node& to) {
    Node copy;  // of the elements as they are in `from`
    copy.dtype = from.dtype;
    copy.shape = from.shape;
    copy.size = from.size;
    allocate_value(copy, queue);
    ticket = queue.copy(from, copy);
    to.buffer = copy.buffer;
    to.offset = 0;
  });
  finish_step(step, queue, std::move(ticket));
}

const Node& Batch::source_of(const Step& step) const {
  const Slot s = step.outputs[0];
  if (const Operand in = step.reads[0]; !in.is_constant()) return node(in.index());
  return is(s, Tape::expanded) ? *expansion_of(node(s)).node() : *node(s).inputs[0].node();
}

// ---- Memory ----

// Whether a step may write its result over what it reads.
bool Batch::can_donate(const Step& step, Slot s, const Queue& queue, std::uint32_t sharing) const {
  if (is_kept(s) || retains(step) ||
      std::find(step.last.begin(), step.last.end(), s) == step.last.end())
    return false;
  const Buffer& buffer = *node(s).buffer;
  return buffer.refs() == 1u + sharing + queue.holds(buffer) && !buffer.borrowed();
}

void allocate_value(Node& node, Queue& queue) {
  node.buffer = queue.allocate(static_cast<std::size_t>(node.size) * size_of(node.dtype));
  node.strides = row_major(node.shape);
  node.offset = 0;
}

// ---- Programs ----

ProgramRun bind(const Program& p, Node* const* nodes, const std::uint64_t* constants) {
  ProgramRun run(p, domain_of(p, nodes));
  for (const std::uint32_t c : p.constants) run.constants.push_back(constants[c]);
  for (const ProgramInput& in : p.inputs) {
    Node& n = *nodes[in.slot];
    const bool known = n.strides.size() == n.shape.size();
    const Strides row = known ? Strides() : row_major(n.shape);
    run.inputs.emplace_back(
        BoundArray{&n, over_domain(p.axes(), in.axes, n.shape, known ? n.strides : row)});
  }
  for (const ProgramOutput& out : p.outputs) {
    Node& n = *nodes[out.slots[0]];
    run.outputs.emplace_back(
        BoundArray{&n, over_domain(p.axes(), out.axes, n.shape, row_major(n.shape))});
  }
  return run;
}

// Whether a product takes so long that it must be possible to interrupt it.
bool Batch::is_long(const Step& step) const {
  constexpr double kLong = 1e10;  // multiplications
  return std::any_of(step.products.begin(), step.products.end(), [&](const Step::Product& p) {
    const Node& left = node(p.reads[0].index());
    return static_cast<double>(node(p.slot).size) * static_cast<double>(left.shape.back()) > kLong;
  });
}

std::shared_ptr<Ticket> Batch::run_program(const Step& step, ProgramRun& run, Backend& on,
                                           Queue& queue) {
  const Program& p = run.program;
  const bool interruptible = is_long(step);
  std::uint64_t taken = 0;  // inputs whose memory an output has
  for (std::size_t k = 0; k < p.outputs.size(); ++k) {
    const ProgramOutput& out = p.outputs[k];
    Node& first = *run.outputs[k].node;
    if (place(out.slots[0], queue)) {
      run.outputs[k].strides = over_domain(p.axes(), out.axes, first.shape, first.strides);
      for (const BoundArray& in : run.inputs)
        run.overwrites |= in.node->buffer && in.node->buffer == first.buffer;
      continue;
    }
    first.strides = row_major(first.shape);
    const auto donor = std::find_if(out.donors.begin(), out.donors.end(), [&](std::uint32_t i) {
      const Node& n = *run.inputs[i].node;
      return i < 64 && !interruptible && !(taken >> i & 1) &&
             can_donate(step, p.inputs[i].slot, queue) && n.strides == row_major(n.shape);
    });
    if (donor != out.donors.end()) {
      taken |= std::uint64_t{1} << *donor;
      first.buffer = run.inputs[*donor].node->buffer;
      first.offset = run.inputs[*donor].node->offset;
    } else {
      allocate_value(first, queue);
    }
    for (std::size_t i = 1; i < out.slots.size(); ++i) {
      Node& n = node(out.slots[i]);
      n.buffer = first.buffer;
      n.offset = first.offset;
      n.strides = row_major(n.shape);
    }
  }
  run.overwrites |= taken != 0;
  if (run.size() == 0) return nullptr;
  const auto kernel = step.kernels->find(&on, on.classify(run), [&] { return on.prepare(run); });
  if (step.products.empty()) return queue.run(*kernel, run);
  std::vector<ProductRun> products;
  for (const Step::Product& product : step.products) {
    products.push_back({node(product.slot), {}});
    for (const Operand in : product.reads) products.back().inputs.push_back(&node(in.index()));
  }
  return queue.run_products(products, *kernel, run);
}

// ---- Primitives ----

namespace {

void fill(Node& out, std::uint64_t bits) {
  const std::size_t size = size_of(out.dtype);
  auto* p = static_cast<std::byte*>(out.buffer->data());
  for (std::int64_t i = 0; i < out.size; ++i) std::memcpy(p + i * size, &bits, size);
}

bool is_dense_column_major(const Node& n) {
  std::int64_t expected = 1;
  for (std::size_t i = 0; i < n.shape.size(); ++i) {
    if (n.shape[i] != 1 && n.strides[i] != expected) return false;
    expected *= n.shape[i];
  }
  return true;
}

// What a primitive reads; `constants` gives those that are constants a value in memory.
SmallVector<Node*, 4> nodes_read(const Node& out, std::vector<std::unique_ptr<Node>>& constants) {
  SmallVector<Node*, 4> nodes;
  nodes.reserve(out.inputs.size());
  for (std::size_t i = 0; i < out.inputs.size(); ++i) {
    Node* n = out.inputs[i].node();
    if (n->constant) {
      Node& value = *constants.emplace_back(std::make_unique<Node>());
      value.dtype = n->dtype;
      value.size = 1;
      materialize(*n, value);
      n = &value;
    }
    nodes.push_back(n);
  }
  return nodes;
}

// What a primitive's result may share with its first input.
enum class Layout : std::uint8_t {
  fresh,        // nothing
  same,         // everything: it is that input
  overwritten,  // the memory, which it updates in place
};
template <class CanDonate>
Layout shared_layout(const Node& out, CanDonate can_donate) {
  const Kind kind = out.primitive->kind();
  const bool overwrites = kind == Kind::scatter;
  if (!overwrites && kind != Kind::contiguous) return Layout::fresh;
  const Node& in = *out.inputs[0].node();
  const bool row_major_input = !in.constant && in.strides == row_major(in.shape);
  if (overwrites) return row_major_input && can_donate() ? Layout::overwritten : Layout::fresh;
  const bool allow_col_major = static_cast<const Contiguous&>(*out.primitive).allow_col_major;
  return !in.constant && (row_major_input || (allow_col_major && is_dense_column_major(in)))
             ? Layout::same
             : Layout::fresh;
}

}  // namespace

std::shared_ptr<Ticket> Batch::run_primitive(const Step& step, Node& out, Queue& queue) {
  const Primitive& p = *out.primitive;
  if (p.kind() == Kind::constant) return materialize(out, out), nullptr;
  if (p.kind() == Kind::reduce) {  // of nothing
    const ReduceOp op = static_cast<const Reduce&>(p).op;
    const bool one = op == ReduceOp::prod || op == ReduceOp::all;
    allocate_value(out, queue);
    fill(out, array(static_cast<std::int64_t>(one), out.dtype).node()->scalar);
    return nullptr;
  }
  std::vector<std::unique_ptr<Node>> constants;
  const SmallVector<Node*, 4> read = nodes_read(out, constants);
  const std::span<Node* const> inputs(read.data(), read.size());
  if (has_several_results(p.kind())) return queue.run(out, inputs);
  if (p.kind() == Kind::slice_update) return run_update(step, inputs, queue);
  if (out.buffer) {  // its places are filled
    const bool whole = std::all_of(inputs.begin(), inputs.end(),
                                   [&](const Node* in) { return in->buffer == out.buffer; });
    return whole ? nullptr : queue.run(out, inputs);
  }
  if (place(step.outputs[0], queue)) return out.size ? queue.run(out, inputs) : nullptr;
  const Layout layout = shared_layout(out, [&] {
    const Operand base = step.reads[0];
    const bool once = std::count(step.reads.begin(), step.reads.end(), base) == 1;
    return once && can_donate(step, base.index(), queue);
  });
  if (layout == Layout::fresh) {
    allocate_value(out, queue);
  } else {
    const Node& in = *inputs[0];
    out.buffer = in.buffer;
    out.strides = in.strides;
    out.offset = in.offset;
    if (layout == Layout::same) return nullptr;
  }
  return out.size ? queue.run(out, inputs) : nullptr;
}

}  // namespace cermet
