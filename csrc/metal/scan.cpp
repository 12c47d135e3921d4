// Scans on the GPU.
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

// Scans the rows of `from` into `to`, in three passes where rows are few and long.
void scan_rows(Commands& commands, ScanOp op, const Tensor& from, const Tensor& to,
               ScanArguments arguments) {
  const Dtype combined = is_half(to.dtype) ? float32 : to.dtype;
  const std::string type = type_name(combined);
  const Kernel& scan =
      kernel("scan", "scan",
             {type_name(to.dtype), type, std::string(reduction_name(op)) + "<" + type + ">",
              index_type({&from, &to})});
  const Division division = divide(arguments.in, arguments.in.n);
  arguments.chunk = division.chunk;
  arguments.lanes = division.lanes;
  auto dispatch = [&](ScanStage stage, const Argument& totals) {
    arguments.stage = stage;
    commands.threads(scan, {in(from), out(to), totals, value(arguments)}, division.grid(),
                     division.group());
  };
  if (division.chunks == 1) return dispatch(kScanWhole, out(to));  // has no totals

  const Shape shape{division.rows, division.chunks};
  const Tensor totals = commands.temporary(shape, combined);
  const Tensor before = commands.temporary(shape, combined);
  const RowsArguments rows = dense_rows(totals, 1);
  dispatch(kScanTotals, out(totals));
  scan_rows(
      commands, op, totals, before,
      {.in = rows, .out = rows, .stage = 0, .reverse = 0, .exclusive = 1, .chunk = 0, .lanes = 0});
  dispatch(kScanChunks, in_out(before));
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
             .exclusive = !primitive.inclusive,
             .chunk = 0,
             .lanes = 0});
}

}  // namespace cermet::metal
