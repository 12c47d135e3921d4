// Scans on the GPU.
#include <algorithm>
#include <string>

#include "metal/rows.h"

namespace cermet::metal {
namespace {

constexpr std::string_view reduction_name(ScanOp op) {
  switch (op) {
    case ScanOp::sum: return "Sum";
    case ScanOp::prod: return "Prod";
    case ScanOp::min: return "Min";
    case ScanOp::max: return "Max";
    case ScanOp::logaddexp: return "LogAddExp";
  }
  return {};
}

// Scans the rows of `from` into `to`, in three passes where a row has several runs.
void scan_rows(Commands& commands, ScanOp op, const Tensor& from, const Tensor& to,
               ScanArguments arguments) {
  const Dtype combined = is_half(to.dtype) ? float32 : to.dtype;
  const std::string type = type_name(combined);
  const Kernel& scan =
      kernel("scan", "scan",
             {type_name(to.dtype), type, std::string(reduction_name(op)) + "<" + type + ">",
              index_type({&from, &to})});
  const std::uint32_t rows = arguments.in.rows;
  const std::uint32_t runs = (arguments.in.n - 1) / CERMET_SCAN_RUN + 1;
  const std::uint32_t width = std::min(rows, 256u);
  const auto dispatch = [&](ScanStage stage, const Argument& totals) {
    arguments.stage = stage;
    commands.threads(scan, {in(from), out(to), totals, value(arguments)}, Size{rows, 1, runs},
                     Size{width, 1, std::min(runs, 256 / width)});
  };
  if (runs == 1) return dispatch(kScanWhole, out(to));  // has no totals

  const Tensor totals = commands.temporary({rows, runs}, combined);
  const Tensor before = commands.temporary({rows, runs}, combined);
  dispatch(kScanTotals, out(totals));
  const RowsArguments of_totals = dense_rows(totals, 1);
  scan_rows(commands, op, totals, before,
            {.in = of_totals, .out = of_totals, .stage = 0, .reverse = 0, .exclusive = 0});
  dispatch(kScanRuns, in(before));
}

}  // namespace

void scan(Commands& commands, const Scan& primitive, const Tensor& in, const Tensor& out) {
  if (out.size() == 0) return;
  const auto [from, rows] = rows_of(commands, in, primitive.axis);
  scan_rows(commands, primitive.op, from, out,
            {.in = rows,
             .out = dense_rows(out, primitive.axis),
             .stage = 0,
             .reverse = primitive.reverse,
             .exclusive = !primitive.inclusive});
}

}  // namespace cermet::metal
