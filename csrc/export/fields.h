// The fields of primitives as an exported file holds them. They follow from the fields' types: a
// primitive needs no more than `tied()`.
#pragma once

#include <bit>
#include <cstdint>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "cermet/export.h"
#include "graph/composites.h"
#include "graph/primitives.h"

namespace cermet::exported {

// The fields of a struct.
template <class T>
auto fields_of(const T& t) {
  if constexpr (requires { t.tied(); })
    return t.tied();
  else
    return std::tie();
}
inline auto fields_of(const ConvOptions& o) {
  return std::tie(o.stride, o.padding_low, o.padding_high, o.kernel_dilation, o.input_dilation,
                  o.groups, o.flip);
}

// How many values an enumeration has. They are stored as numbers, so new ones come last.
template <class E>
constexpr int kValues = 0;
template <>
inline constexpr int kValues<Dtype> = kDtypeCount;
template <>
inline constexpr int kValues<ReduceOp> = static_cast<int>(ReduceOp::any) + 1;
template <>
inline constexpr int kValues<ScanOp> = static_cast<int>(ScanOp::logaddexp) + 1;
template <>
inline constexpr int kValues<Update> = static_cast<int>(Update::maximum) + 1;
template <>
inline constexpr int kValues<Identity::Why> = static_cast<int>(Identity::Why::depends) + 1;
template <>
inline constexpr int kValues<QuantizationMode> = static_cast<int>(QuantizationMode::nvfp4) + 1;
template <>
inline constexpr int kValues<MaxPoolOptions::Role> =
    static_cast<int>(MaxPoolOptions::Role::spread) + 1;
template <>
inline constexpr int kValues<Fft::Type> = static_cast<int>(Fft::Type::half) + 1;
template <>
inline constexpr int kValues<Fft::Divisor> = static_cast<int>(Fft::Divisor::count) + 1;
template <>
inline constexpr int kValues<Factorization::Routine> =
    static_cast<int>(Factorization::Routine::solve_triangular) + 1;

template <class T>
constexpr bool is_optional = false;
template <class T>
constexpr bool is_optional<std::optional<T>> = true;
template <class T>
constexpr bool is_list = requires(const T& t) {
  t.begin();
  t.size();
} && !std::is_same_v<T, std::string>;

// A primitive that is a field of another; the other is none in such a field.
class Bytes;
class Values;
class Reader;
void put(Bytes& out, const Ref<const Primitive>& primitive);
void put(Values& out, const Ref<const Primitive>& primitive);
Ref<const Primitive> get_primitive(Reader& in);

// ---- Writing ----

// The bytes of a file's description: numbers little-endian, lists and texts after their length.
class Bytes {
 public:
  void flag(bool v) { bytes_ += static_cast<char>(v); }
  void present(bool v) { flag(v); }
  void small(int v) { bytes_ += static_cast<char>(v); }
  void enumerator(int v, std::string_view) { small(v); }
  void count(std::size_t n) { word(n, 4); }
  void integer(std::int64_t v) { word(static_cast<std::uint64_t>(v), 8); }
  void bits(std::uint64_t v) { word(v, 8); }
  void real(double v) { bits(std::bit_cast<std::uint64_t>(v)); }
  void text(std::string_view v) {
    count(v.size());
    bytes_ += v;
  }
  const std::string& bytes() const { return bytes_; }

 private:
  void word(std::uint64_t v, int bytes) {
    for (int i = 0; i < bytes; ++i) bytes_ += static_cast<char>(v >> (8 * i));
  }
  std::string bytes_;
};

// The same as values, to look at.
class Values {
 public:
  void flag(bool v) { list_.emplace_back(v); }
  void present(bool v) {
    if (!v) list_.emplace_back(std::monostate{});
  }
  void enumerator(int v, std::string_view name) {
    if (name.empty())
      integer(v);
    else
      text(name);
  }
  void count(std::size_t n) {
    left_ = n;
    list_.emplace_back(std::vector<std::int64_t>{});
  }
  void integer(std::int64_t v) {
    if (left_ == 0) return static_cast<void>(list_.emplace_back(v));
    std::get<std::vector<std::int64_t>>(list_.back()).push_back(v);
    --left_;
  }
  void real(double v) { list_.emplace_back(v); }
  void text(std::string_view v) { list_.emplace_back(std::string(v)); }
  std::vector<ExportedArgument> take() { return std::move(list_); }

 private:
  std::vector<ExportedArgument> list_;
  std::size_t left_ = 0;  // of a list's integers
};

template <class Sink, class T>
void put(Sink& out, const T& v) {
  if constexpr (std::is_same_v<T, bool>) {
    out.flag(v);
  } else if constexpr (std::is_same_v<T, Op>) {
    out.text(info(v).name);  // the table of operations grows anywhere
  } else if constexpr (std::is_enum_v<T>) {
    static_assert(kValues<T> > 0);
    if constexpr (requires { name_of(v); })
      out.enumerator(static_cast<int>(v), name_of(v));
    else
      out.enumerator(static_cast<int>(v), {});
  } else if constexpr (std::is_integral_v<T>) {
    out.integer(v);
  } else if constexpr (std::is_floating_point_v<T>) {
    out.real(v);
  } else if constexpr (std::is_same_v<T, std::string>) {
    out.text(v);
  } else if constexpr (is_optional<T>) {
    out.present(v.has_value());
    if (v) put(out, *v);
  } else if constexpr (is_list<T>) {
    out.count(v.size());
    for (const auto& each : v) put(out, each);
  } else {
    std::apply([&](const auto&... field) { (put(out, field), ...); }, fields_of(v));
  }
}

// ---- Reading ----

// The same bytes, of whatever origin: std::invalid_argument where they end too early or are no such
// thing.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : left_(bytes) {}
  bool flag() { return small(2) != 0; }
  int small(int values) {
    const auto v = static_cast<int>(word(1));
    if (v >= values) throw std::invalid_argument("a number is " + std::to_string(v));
    return v;
  }
  // Of things that take so many bytes each, or 0: so many are there.
  std::size_t count(std::size_t each) {
    const auto n = static_cast<std::size_t>(word(4));
    if (each > 0 && n > left_.size() / each)
      throw std::invalid_argument("a list of " + std::to_string(n) + " does not fit");
    return n;
  }
  std::int64_t integer() { return static_cast<std::int64_t>(word(8)); }
  std::uint64_t bits() { return word(8); }
  double real() { return std::bit_cast<double>(bits()); }
  std::string text() {
    const auto bytes = take(count(1));
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  bool at_end() const { return left_.empty(); }

 private:
  std::span<const std::byte> take(std::size_t n) {
    if (n > left_.size()) throw std::invalid_argument("it is cut short");
    const auto taken = left_.first(n);
    left_ = left_.subspan(n);
    return taken;
  }
  std::uint64_t word(std::size_t bytes) {
    std::uint64_t v = 0;
    const auto from = take(bytes);
    for (std::size_t i = bytes; i-- > 0;) v = v << 8 | static_cast<std::uint64_t>(from[i]);
    return v;
  }
  std::span<const std::byte> left_;
};

template <class T>
T get(Reader& in);

template <class... Fields>
auto get_all(Reader& in, std::type_identity<std::tuple<Fields...>>) {
  return std::tuple<std::decay_t<Fields>...>{get<std::decay_t<Fields>>(in)...};  // in this order
}
// The fields of a struct.
template <class T>
auto get_fields(Reader& in) {
  return get_all(in, std::type_identity<decltype(fields_of(std::declval<const T&>()))>());
}

template <class T>
T get(Reader& in) {
  if constexpr (std::is_same_v<T, Ref<const Primitive>>) {
    return get_primitive(in);
  } else if constexpr (std::is_same_v<T, bool>) {
    return in.flag();
  } else if constexpr (std::is_same_v<T, Op>) {
    const std::string name = in.text();
    for (int i = 0; i < kOpCount; ++i)
      if (info(static_cast<Op>(i)).name == name) return static_cast<Op>(i);
    throw std::invalid_argument("there is no operation '" + name + "'");
  } else if constexpr (std::is_enum_v<T>) {
    return static_cast<T>(in.small(kValues<T>));
  } else if constexpr (std::is_integral_v<T>) {
    const std::int64_t v = in.integer();
    if (!std::in_range<T>(v)) throw std::invalid_argument("a number is " + std::to_string(v));
    return static_cast<T>(v);
  } else if constexpr (std::is_floating_point_v<T>) {
    return in.real();
  } else if constexpr (std::is_same_v<T, std::string>) {
    return in.text();
  } else if constexpr (is_optional<T>) {
    if (!in.flag()) return std::nullopt;
    return get<typename T::value_type>(in);
  } else if constexpr (is_list<T>) {
    T list;
    for (std::size_t n = in.count(1); n > 0; --n) list.push_back(get<typename T::value_type>(in));
    return list;
  } else {
    return std::apply([](auto&&... field) { return T{std::move(field)...}; }, get_fields<T>(in));
  }
}

}  // namespace cermet::exported
