// The submodule distributed, for programs written for several processes: this build has one.
//
// Collective operations over a group of one process are the identity.
#include "bindings.h"

namespace cermet::python {
namespace {

struct Group {};

struct CollectiveRow {
  const char* name;
  const char* doc;
};
constexpr CollectiveRow kCollectives[] = {
    {"all_sum", "The sum over the group's processes, elementwise."},
    {"all_max", "The largest over the group's processes, elementwise."},
    {"all_min", "The smallest over the group's processes, elementwise."},
    {"all_gather", "The processes' arrays, concatenated along the first axis."},
    {"sum_scatter", "This process's part, along the first axis, of the sum over the processes."},
};
constexpr std::string_view kBackends[] = {"any", "jaccl", "mpi", "nccl", "ring"};

[[noreturn]] void alone(const char* op) {
  throw std::invalid_argument(std::string(op) + ": the group has no other process");
}

}  // namespace

void bind_distributed(nb::module_& m) {
  nb::module_ sub = m.def_submodule(
      "distributed", "Groups of processes. This build communicates with no other process.");
  nb::class_<Group>(sub, "Group", "A group of one process.")
      .def(
          "rank", [](const Group&) { return 0; }, "This process's number in the group.")
      .def(
          "size", [](const Group&) { return 1; }, "How many processes the group has.")
      .def(
          "split",
          [](const Group&, int, int) -> Group {
            throw std::runtime_error("split: a group of one process cannot be split");
          },
          "color"_a, "key"_a = -1,
          "The group of the processes with the same color, ordered by key; an error for one "
          "process.");
  sub.def(
      "is_available", [](const std::string&) { return false; }, "backend"_a = "any",
      "Whether the backend can communicate: none can.");
  sub.def(
      "init",
      [](bool strict, const std::string& backend, nb::handle) {
        if (std::find(std::begin(kBackends), std::end(kBackends), backend) == std::end(kBackends))
          throw std::invalid_argument("init: backend is '" + backend +
                                      "', expected any, jaccl, mpi, nccl or ring");
        if (strict)
          throw std::runtime_error("init: the backend '" + backend +
                                   "' cannot communicate in this build");
        return Group{};
      },
      "strict"_a = false, "backend"_a = "any", nb::kw_only(), "all_gather_factory"_a = nb::none(),
      "The group of all processes: this one. With `strict` that is an error, and a backend that "
      "has "
      "no meaning always is.");
  for (const CollectiveRow& row : kCollectives)
    sub.def(row.name,
            named(row.name, [](Operand x, const std::optional<Group>&,
                               StreamOrDevice) { return to_array(x); }),
            "x"_a, nb::kw_only(), "group"_a = nb::none(), "stream"_a = nb::none(), row.doc);
  sub.def(
      "send",
      [](const array&, int, const std::optional<Group>&, StreamOrDevice) -> array {
        alone("send");
      },
      "x"_a, "dst"_a, nb::kw_only(), "group"_a = nb::none(), "stream"_a = nb::none(),
      "Sends an array to another process; an error in a group of one.");
  sub.def(
      "recv",
      [](const Shape&, Dtype, int, const std::optional<Group>&, StreamOrDevice) -> array {
        alone("recv");
      },
      "shape"_a, "dtype"_a, "src"_a, nb::kw_only(), "group"_a = nb::none(), "stream"_a = nb::none(),
      "An array from another process; an error in a group of one.");
  sub.def(
      "recv_like",
      [](const array&, int, const std::optional<Group>&, StreamOrDevice) -> array {
        alone("recv_like");
      },
      "x"_a, "src"_a, nb::kw_only(), "group"_a = nb::none(), "stream"_a = nb::none(),
      "An array of the shape and dtype of `x` from another process; an error in a group of one.");
}

}  // namespace cermet::python
