// Products and contractions. Everything that sums over a shared axis becomes a (batched) Matmul
// node.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <map>

#include "graph/check.h"
#include "graph/composites.h"
#include "graph/follow.h"
#include "graph/primitives/algebra.h"

namespace cermet {
namespace {

std::int64_t product(const Shape& shape, std::size_t begin, std::size_t end) {
  std::int64_t n = 1;
  for (std::size_t i = begin; i < end; ++i) n *= shape[i];
  return n;
}

// (..., m, k) x (..., k, n) of one inexact type.
array multiply_matrices(std::string_view op, const array& a, const array& b, StreamOrDevice s) {
  const Shape &left = rule_shape(a), &right = rule_shape(b);
  const std::int64_t m = *(left.end() - 2), k = left.back(), n = right.back();
  if (k != *(right.end() - 2))
    fail(op, "shapes ", a.shape(), " and ", b.shape(), " do not fit: ", k, " columns against ",
         *(right.end() - 2), " rows");
  if (a.ndim() == 2 && b.ndim() == 2 && !off_rule(k == 0, a))
    return array(the<Matmul>(), {m, n}, a.dtype(), {a, b}, s.resolve());
  // One matrix for a whole batch: the batch counts as rows.
  if (b.ndim() == 2 && a.ndim() > 2) {
    Shape shape = a.shape();
    shape.back() = n;
    const std::int64_t rows = product(shape, 0, shape.size() - 1);
    return reshape(multiply_matrices(op, reshape(a, {rows, k}, s), b, s), shape, s);
  }
  Shape batch;
  try {
    batch = broadcast_shapes(batch_of(a), batch_of(b));
  } catch (const std::invalid_argument&) {
    fail(op, "the batch axes of ", a.shape(), " and ", b.shape(), " do not broadcast");
  }
  Shape shape = matrices(batch, m, n);
  if (k == 0) return zeros(shape, a.dtype(), s);
  return array(
      the<Matmul>(), std::move(shape), a.dtype(),
      {broadcast_to(a, matrices(batch, m, k), s), broadcast_to(b, matrices(batch, k, n), s)},
      s.resolve());
}

}  // namespace

array multiply_any(std::string_view op, const array& a, const array& b, Dtype t, StreamOrDevice s) {
  if (a.ndim() == 0 || b.ndim() == 0)
    fail(op, "shapes ", a.shape(), " and ", b.shape(), ": expected at least 1 dimension");
  require_inexact(op, t);
  const array x = astype(a, t, s), y = astype(b, t, s);
  if (a.ndim() > 1 && b.ndim() > 1) return multiply_matrices(op, x, y, s);
  const array out = multiply_matrices(op, x.ndim() == 1 ? expand_dims(x, {0}, s) : x,
                                      y.ndim() == 1 ? expand_dims(y, {1}, s) : y, s);
  Axes gone;
  if (a.ndim() == 1) gone.push_back(-1 - (b.ndim() > 1));
  if (b.ndim() == 1) gone.push_back(a.ndim() == 1 ? -2 : -1);
  return gone.empty() ? out : squeeze(out, gone, s);
}

namespace {

// alpha product + beta c.
array scaled_sum(array product, array c, double alpha, double beta, StreamOrDevice s) {
  if (!broadcasts_to(c.shape(), product.shape()))
    fail("addmm", "c of shape ", c.shape(), " does not broadcast to the product's ",
         product.shape());
  if (alpha != 1) product = multiply(product, scalar_like(alpha, product), s);
  if (beta != 1) c = multiply(c, scalar_like(beta, c), s);
  return add(product, c, s);
}

// ---- einsum ----

// A label is a letter, or for an axis of an ellipsis kEllipsis + its distance from the last.
using Labels = SmallVector<int, 8>;
constexpr int kEllipsis = 1000;

bool contains(const Labels& labels, int label) {
  return std::find(labels.begin(), labels.end(), label) != labels.end();
}

struct Term {
  array a;
  Labels labels;
};

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

// The character at a place, of however many bytes of UTF-8.
std::string_view character(std::string_view text, std::size_t at) {
  std::size_t end = at + 1;
  while (end < text.size() && (text[end] & 0xC0) == 0x80) ++end;
  return text.substr(at, end - at);
}

// The axes in the order of `target`, with extent 1 where the term lacks a label.
array align(const Term& term, const Labels& target, StreamOrDevice s) {
  Axes order, missing;
  for (std::size_t i = 0; i < target.size(); ++i) {
    const auto* at = std::find(term.labels.begin(), term.labels.end(), target[i]);
    if (at == term.labels.end())
      missing.push_back(static_cast<int>(i));
    else
      order.push_back(static_cast<int>(at - term.labels.begin()));
  }
  return expand_dims(transpose(term.a, order, s), missing, s);
}

// Sums over the labels that `keep` lacks.
void sum_out(Term& term, const Labels& keep, StreamOrDevice s) {
  Axes axes;
  Labels left;
  for (std::size_t i = 0; i < term.labels.size(); ++i) {
    if (contains(keep, term.labels[i]))
      left.push_back(term.labels[i]);
    else
      axes.push_back(static_cast<int>(i));
  }
  if (axes.empty()) return;
  term = {sum(term.a, axes, false, s), left};
}

class Einsum {
 public:
  Einsum(const std::string& subscripts, const Arrays& operands, StreamOrDevice s)
      : subscripts_(subscripts), s_(s) {
    parse(operands);
  }

  array run() {
    for (Term& t : terms_) sum_out(t, needed(&t), s_);
    while (terms_.size() > 1) {
      const auto [i, j] = cheapest_pair();
      path_.push_back({static_cast<int>(i), static_cast<int>(j)});
      Term merged = contract(terms_[i], terms_[j]);
      terms_.erase(terms_.begin() + static_cast<std::ptrdiff_t>(j));
      terms_.erase(terms_.begin() + static_cast<std::ptrdiff_t>(i));
      terms_.push_back(std::move(merged));
    }
    return align(terms_.front(), output_, s_);
  }

  // After run: the pairs of terms that were contracted, and the multiplications that took, against
  // those of one sum over all labels at once.
  EinsumPath path() const {
    double at_once = static_cast<double>(std::max<std::size_t>(1, path_.size()));
    for (const auto& [label, extent] : extents_) at_once *= static_cast<double>(extent);
    return {path_, work_, at_once};
  }

 private:
  template <class... Parts>
  [[noreturn]] void fail_here(const Parts&... parts) const {
    fail("einsum", "\"", subscripts_, "\": ", parts...);
  }

  // The labels of one comma-separated part, for `ndim` axes (unknown for the output: -1).
  Labels parse_term(std::string_view text, int ndim) const {
    Labels labels;
    const auto dots = text.find("...");
    for (std::size_t i = dots == 0 ? 3 : 0; i < text.size(); i += i + 1 == dots ? 4 : 1)
      if (!is_letter(text[i])) fail_here("unexpected '", character(text, i), "'");
    const int letters = static_cast<int>(text.size()) - (dots == text.npos ? 0 : 3);
    const int hidden = dots == text.npos ? 0 : ndim < 0 ? ellipsis_ : ndim - letters;
    if (ndim >= 0 && (hidden < 0 || letters + hidden != ndim))
      fail_here("\"", text, "\" labels ", letters, " axes of an operand with ", ndim);
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (i == dots) {
        for (int d = hidden; d-- > 0;) labels.push_back(kEllipsis + d);
        i += 2;
      } else {
        labels.push_back(text[i]);
      }
    }
    return labels;
  }

  void parse(const Arrays& operands) {
    std::string text;
    for (const char c : subscripts_)
      if (c != ' ') text += c;
    const auto arrow = text.find("->");
    std::string_view rest = std::string_view(text).substr(0, arrow);
    std::vector<std::string_view> parts;
    for (;;) {
      const auto comma = rest.find(',');
      parts.push_back(rest.substr(0, comma));
      if (comma == rest.npos) break;
      rest.remove_prefix(comma + 1);
    }
    if (parts.size() != operands.size())
      fail_here(static_cast<int>(parts.size()), " terms for ", static_cast<int>(operands.size()),
                " operands");

    std::map<int, int> uses;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      terms_.push_back({operands[i], parse_term(parts[i], operands[i].ndim())});
      for (std::size_t axis = 0; axis < terms_[i].labels.size(); ++axis) {
        const int label = terms_[i].labels[axis];
        const std::int64_t n = operands[i].shape()[axis];
        auto& extent = extents_.try_emplace(label, n).first->second;
        if (extent == 1) extent = n;
        if (n != 1 && n != extent)
          fail_here("an axis of operand ", static_cast<int>(i), " of shape ", operands[i].shape(),
                    " has extent ", n, " where another has ", extent);
        ++uses[label];
        if (label >= kEllipsis) ellipsis_ = std::max(ellipsis_, label - kEllipsis + 1);
      }
    }
    if (arrow != text.npos) {
      output_ = parse_term(std::string_view(text).substr(arrow + 2), -1);
      for (const int label : output_) {
        if (!extents_.count(label)) fail_here("the output names a label that no operand has");
        if (std::count(output_.begin(), output_.end(), label) > 1)
          fail_here("the output names a label twice");
      }
    } else {
      for (int d = ellipsis_; d-- > 0;) output_.push_back(kEllipsis + d);
      for (const auto& [label, count] : uses)
        if (label < kEllipsis && count == 1) output_.push_back(label);
    }
    for (Term& t : terms_) simplify(t);
  }

  // Takes diagonals of repeated labels, and drops axes of extent 1 that broadcast.
  void simplify(Term& t) {
    for (std::size_t i = 0; i < t.labels.size(); ++i) {
      for (std::size_t j = i + 1; j < t.labels.size(); ++j) {
        if (t.labels[j] != t.labels[i]) continue;
        if (t.a.shape()[i] != t.a.shape()[j])
          fail_here("a repeated label has extents ", t.a.shape()[i], " and ", t.a.shape()[j]);
        const int label = t.labels[i];
        t.labels.erase(t.labels.begin() + j);
        t.labels.erase(t.labels.begin() + i);
        t.labels.push_back(label);
        t.a = diagonal(t.a, 0, static_cast<int>(i), static_cast<int>(j), s_);
        return simplify(t);
      }
    }
    Axes broadcast;
    Labels left;
    for (std::size_t i = 0; i < t.labels.size(); ++i) {
      if (t.a.shape()[i] == 1 && extents_[t.labels[i]] != 1)
        broadcast.push_back(static_cast<int>(i));
      else
        left.push_back(t.labels[i]);
    }
    t = {squeeze(t.a, broadcast, s_), left};
  }

  // The labels of the output and of the terms other than these.
  Labels needed(const Term* one, const Term* other = nullptr) const {
    Labels labels = output_;
    for (const Term& t : terms_)
      if (&t != one && &t != other)
        for (const int label : t.labels) labels.push_back(label);
    return labels;
  }

  double elements(const Labels& labels) const {
    double n = 1;
    for (const int label : labels) n *= static_cast<double>(extents_.at(label));
    return n;
  }

  // The pair whose product is smallest against what it replaces; among equals, the cheapest.
  std::pair<std::size_t, std::size_t> cheapest_pair() const {
    std::pair<std::size_t, std::size_t> best{0, 1};
    std::pair<double, double> least{HUGE_VAL, HUGE_VAL};
    for (std::size_t i = 0; i < terms_.size(); ++i) {
      for (std::size_t j = i + 1; j < terms_.size(); ++j) {
        const Labels keep = needed(&terms_[i], &terms_[j]);
        Labels all = terms_[i].labels, result;
        for (const int label : terms_[j].labels)
          if (!contains(all, label)) all.push_back(label);
        for (const int label : all)
          if (contains(keep, label)) result.push_back(label);
        const std::pair cost{
            elements(result) - elements(terms_[i].labels) - elements(terms_[j].labels),
            elements(all)};
        if (cost < least) {
          least = cost;
          best = {i, j};
        }
      }
    }
    return best;
  }

  Term contract(const Term& a, const Term& b) {
    const Labels keep = needed(&a, &b);
    Labels batch, left, right, summed;
    for (const int label : a.labels) {
      if (!contains(b.labels, label))
        left.push_back(label);
      else
        (contains(keep, label) ? batch : summed).push_back(label);
    }
    for (const int label : b.labels)
      if (!contains(a.labels, label)) right.push_back(label);
    const auto join = [](std::initializer_list<Labels> parts) {
      Labels all;
      for (const Labels& part : parts)
        for (const int label : part) all.push_back(label);
      return all;
    };
    const Labels labels = join({batch, left, right});
    work_ += elements(join({labels, summed}));
    const Dtype t = promote(a.a.dtype(), b.a.dtype());
    if (summed.empty() || !is_inexact(t)) {
      Term out{array(0), join({labels, summed})};
      out.a = multiply(align(a, out.labels, s_), align(b, out.labels, s_), s_);
      sum_out(out, labels, s_);
      return out;
    }
    const auto count = [&](const Labels& l) { return static_cast<std::int64_t>(elements(l)); };
    Shape shape, entries;
    for (const int label : batch) entries.push_back(extents_.at(label));
    for (const int label : labels) shape.push_back(extents_.at(label));
    // The axes of the batch stay apart: merged, transposed operands would be copied.
    const array x = reshape(align(a, join({batch, left, summed}), s_),
                            matrices(entries, count(left), count(summed)), s_);
    const array y = reshape(align(b, join({batch, summed, right}), s_),
                            matrices(entries, count(summed), count(right)), s_);
    return {reshape(multiply_matrices("einsum", astype(x, t, s_), astype(y, t, s_), s_), shape, s_),
            labels};
  }

  const std::string& subscripts_;
  StreamOrDevice s_;
  std::vector<Term> terms_;
  Labels output_;
  std::map<int, std::int64_t> extents_;
  int ellipsis_ = 0;  // the most axes an ellipsis stands for
  std::vector<std::pair<int, int>> path_;
  double work_ = 0;
};

}  // namespace

array matmul(const array& a, const array& b, StreamOrDevice s) {
  return multiply_any("matmul", a, b, promote(a.dtype(), b.dtype()), s);
}

array addmm(const array& c, const array& a, const array& b, double alpha, double beta,
            StreamOrDevice s) {
  const Dtype t = promote(promote(a.dtype(), b.dtype()), c.dtype());
  const array sum = scaled_sum(multiply_any("addmm", a, b, t, s), astype(c, t, s), alpha, beta, s);
  if (a.ndim() < 2 || b.ndim() < 2 || !is_floating(t)) return sum;
  return array(make_ref<const Addmm>(alpha, beta), sum.shape(), t,
               {astype(c, t, s), astype(a, t, s), astype(b, t, s)}, s.resolve());
}

Arrays Addmm::expand(const Node& node, std::span<const array> inputs) const {
  const array product = multiply_any("addmm", inputs[1], inputs[2], node.dtype, node.stream);
  return {scaled_sum(product, inputs[0], alpha, beta, node.stream)};
}

array inner(const array& a, const array& b, StreamOrDevice s) {
  if (a.ndim() == 0 || b.ndim() == 0) return multiply(a, b, s);
  return tensordot(a, b, Axes{-1}, Axes{-1}, s);
}

array outer(const array& a, const array& b, StreamOrDevice s) {
  return multiply(reshape(a, {a.size(), 1}, s), reshape(b, {b.size()}, s), s);
}

array vecdot(const array& a, const array& b, int axis, StreamOrDevice s) {
  const int i = normalize_axis("vecdot", axis, a.ndim());
  const int j = normalize_axis("vecdot", axis, b.ndim());
  if (a.shape()[i] != b.shape()[j])
    fail("vecdot", "axis ", axis, " of ", a.shape(), " and ", b.shape(), " differs in extent");
  return sum(multiply(conjugate(moveaxis(a, i, -1, s), s), moveaxis(b, j, -1, s), s), Axes{-1},
             false, s);
}

array tensordot(const array& a, const array& b, const Axes& axes_a, const Axes& axes_b,
                StreamOrDevice s) {
  if (axes_a.size() != axes_b.size())
    fail("tensordot", "axes ", axes_a, " and ", axes_b, " differ in number");
  normalize_axes("tensordot", axes_a, a.ndim());  // no repeats
  normalize_axes("tensordot", axes_b, b.ndim());
  Axes summed_a, summed_b;
  for (std::size_t i = 0; i < axes_a.size(); ++i) {
    summed_a.push_back(normalize_axis("tensordot", axes_a[i], a.ndim()));
    summed_b.push_back(normalize_axis("tensordot", axes_b[i], b.ndim()));
    if (a.shape()[summed_a[i]] != b.shape()[summed_b[i]])
      fail("tensordot", "axis ", axes_a[i], " of ", a.shape(), " and axis ", axes_b[i], " of ",
           b.shape(), " differ in extent");
  }
  // a as (free, summed), b as (summed, free).
  Axes order_b = moved_last(b.ndim(), summed_b);
  std::rotate(order_b.begin(), order_b.end() - summed_b.size(), order_b.end());
  Shape shape = without(a.shape(), summed_a);
  const std::size_t split = shape.size();
  for (const std::int64_t n : without(b.shape(), summed_b)) shape.push_back(n);
  const std::int64_t m = product(shape, 0, split), n = product(shape, split, shape.size());
  std::int64_t k = 1;
  for (const int axis : summed_a) k *= a.shape()[axis];
  const array x = reshape(transpose(a, moved_last(a.ndim(), summed_a), s), {m, k}, s);
  const array y = reshape(transpose(b, order_b, s), {k, n}, s);
  const array out = axes_a.empty()
                        ? multiply(x, y, s)
                        : multiply_any("tensordot", x, y, promote(a.dtype(), b.dtype()), s);
  return reshape(out, shape, s);
}

array tensordot(const array& a, const array& b, int axes, StreamOrDevice s) {
  if (axes < 0 || axes > std::min(a.ndim(), b.ndim()))
    fail("tensordot", "cannot sum over ", axes, " axes of shapes ", a.shape(), " and ", b.shape());
  Axes last, first;
  for (int i = 0; i < axes; ++i) {
    last.push_back(a.ndim() - axes + i);
    first.push_back(i);
  }
  return tensordot(a, b, last, first, s);
}

array kron(const array& a, const array& b, StreamOrDevice s) {
  // Axes in pairs (a's, b's), multiplied and joined.
  const int ndim = std::max(a.ndim(), b.ndim());
  Shape left, right, shape;
  for (int i = -ndim; i < 0; ++i) {
    const std::int64_t n = -i <= a.ndim() ? a.shape(i) : 1, m = -i <= b.ndim() ? b.shape(i) : 1;
    left.push_back(n);
    left.push_back(1);
    right.push_back(1);
    right.push_back(m);
    shape.push_back((Size("kron", n) * m).value());
  }
  return reshape(multiply(reshape(a, left, s), reshape(b, right, s), s), shape, s);
}

array einsum(const std::string& subscripts, const Arrays& operands, StreamOrDevice s) {
  return Einsum(subscripts, operands, s).run();
}

EinsumPath einsum_path(const std::string& subscripts, const Arrays& operands) {
  Einsum einsum(subscripts, operands, {});
  einsum.run();  // lazy: nothing is computed
  return einsum.path();
}

}  // namespace cermet
