// Sorting on the GPU: values or indices. A partition is sorted whole.
#include <algorithm>
#include <array>
#include <bit>

#include "metal/rows.h"

namespace cermet::metal {

void sort(Commands& commands, const Sort& primitive, const Tensor& in, const Tensor& out) {
  if (out.size() == 0) return;
  const auto [from, source] = rows_of(commands, in, primitive.axis);
  const RowsArguments target = dense_rows(out, primitive.axis);
  const std::uint32_t n = source.n, rows = source.rows;
  const Dtype key = key_dtype(in.dtype);
  const std::initializer_list<std::string> types = {
      type_name(key), primitive.indices ? "true" : "false", index_type({&from, &out})};

  // Short rows share a threadgroup.
  const std::uint32_t tiles = (n - 1) / kSortTile + 1;
  const std::uint32_t row_threads =
      tiles > 1 ? std::uint32_t{kSortThreads} : std::bit_ceil((n - 1) / kSortItems + 1);
  const std::uint32_t rows_together = std::min(kSortThreads / row_threads, rows);

  // Keys and places between passes.
  struct Items {
    Tensor keys, places;
  };
  std::array<Items, 2> spare;
  if (tiles > 1)
    for (Items& s : std::span(spare).first(n > 2 * kSortTile ? 2 : 1)) {
      s.keys = commands.temporary({rows, n}, key);
      s.places = primitive.indices ? commands.temporary({rows, n}, uint32) : s.keys;
    }
  // The last pass writes one of the two, to `out`.
  const Items result{out, out};

  SortArguments arguments{.in = source,
                          .out = tiles > 1 ? dense_rows(spare[0].keys, 1) : target,
                          .key = key_arguments(in.dtype),
                          .tile = row_threads * kSortItems,
                          .run = kSortTile,
                          .last = tiles == 1};
  const Items& sorted = tiles > 1 ? spare[0] : result;
  commands.groups(
      kernel("sort", "sort_tiles", types),
      {metal::in(from), metal::out(sorted.keys), metal::out(sorted.places), value(arguments)},
      {tiles, (rows - 1) / rows_together + 1, 1}, {row_threads * rows_together, 1, 1});

  arguments.in = arguments.out;
  for (int pass = 0; !arguments.last; ++pass, arguments.run *= 2) {
    arguments.last = arguments.run >= n - arguments.run;
    if (arguments.last) arguments.out = target;
    const Items &a = spare[pass % 2], &b = arguments.last ? result : spare[(pass + 1) % 2];
    commands.groups(kernel("sort", "sort_merge", types),
                    {metal::in(a.keys), metal::in(a.places), metal::out(b.keys),
                     metal::out(b.places), value(arguments)},
                    {tiles, rows, 1}, {kSortThreads, 1, 1});
  }
}

}  // namespace cermet::metal
