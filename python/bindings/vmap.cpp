// vmap: Python functions over an axis of the arrays in their arguments.
#include <nanobind/stl/unique_ptr.h>

#include <algorithm>

#include "transforms.h"

namespace cermet::python {
namespace {

class Vmapped final : public Transformed {
 public:
  Vmapped(nb::object fun, nb::object in_axes, nb::object out_axes)
      : Transformed(std::move(fun)), in_axes_(std::move(in_axes)), out_axes_(std::move(out_axes)) {}

  nb::object operator()(const nb::args& args, const nb::kwargs& kwargs) override {
    if (kwargs.size() != 0) throw nb::type_error("vmap: keyword arguments cannot be mapped over");
    refuse_modules(args, "vmap");
    Arrays inputs;
    flatten_only_arrays(args, inputs, "vmap");
    std::vector<int> axes;
    // Axes of one argument need no tuple around them.
    if (PyDict_Check(in_axes_.ptr()) && args.size() == 1)
      spread(in_axes_, args[0], axes, "in_axes");
    else
      spread(in_axes_, args, axes, "in_axes");
    if (std::all_of(axes.begin(), axes.end(), [](int axis) { return axis == kNotMapped; }))
      throw std::invalid_argument("vmap: at least one of in_axes must be an axis");

    nb::object outputs;
    const Function mapped = [&](const Arrays& in) {
      outputs = call(fun, nb::make_tuple(rebuilt(args, in), nb::dict()));
      Arrays out;
      flatten_only_arrays(outputs, out, "vmap");
      return out;
    };
    const Arrays results = vmap_call(mapped, axes, inputs, [&](std::size_t) {
      std::vector<int> placed;
      spread(out_axes_, outputs, placed, "out_axes");
      return placed;
    });
    return rebuilt(outputs, results);
  }

  int visit_objects(visitproc visit, void* arg) override {
    Py_VISIT(in_axes_.ptr());
    Py_VISIT(out_axes_.ptr());
    return Transformed::visit_objects(visit, arg);
  }

 private:
  // An axis for each array of `tree`, from axes that stand for it or for a part of it.
  static void spread(nb::handle axes, nb::handle tree, std::vector<int>& out, const char* what) {
    const auto mismatch = [&] {
      throw std::invalid_argument("vmap: " + std::string(what) +
                                  " does not have the structure of what it maps");
    };
    if (axes.is_none() || PyLong_Check(axes.ptr())) {
      const int axis =
          axes.is_none() ? kNotMapped : argument<int>(axes, "vmap", "the number of an axis");
      tree_visit(tree, [&](nb::handle) { out.push_back(axis); });
    } else if (PyDict_Check(axes.ptr())) {
      if (!PyDict_Check(tree.ptr()) || PyDict_Size(axes.ptr()) != PyDict_Size(tree.ptr()))
        mismatch();
      for (auto item : nb::borrow<nb::dict>(tree)) {
        const nb::handle axis = PyDict_GetItem(axes.ptr(), item.first.ptr());
        if (!axis.is_valid()) mismatch();
        spread(axis, item.second, out, what);
      }
    } else if (nb::isinstance<nb::sequence>(axes) &&
               (PyList_Check(tree.ptr()) || PyTuple_Check(tree.ptr()))) {
      if (nb::len(axes) != nb::len(tree)) mismatch();
      for (std::size_t i = 0; i < nb::len(axes); ++i)
        spread(nb::object(axes[i]), nb::object(tree[i]), out, what);
    } else {
      mismatch();
    }
  }

  Held in_axes_, out_axes_;
};

}  // namespace

void bind_vmap(nb::module_& m) {
  m.def(
      "vmap",
      [](nb::callable fun, nb::object in_axes,
         nb::object out_axes) -> std::unique_ptr<Transformed> {
        return std::make_unique<Vmapped>(std::move(fun), std::move(in_axes), std::move(out_axes));
      },
      nb::sig(
          "def vmap(fun: Callable[..., typing.Any], in_axes: object = 0, out_axes: object = 0) -> "
          "Callable[..., typing.Any]"),
      "fun"_a, "in_axes"_a.none() = 0, "out_axes"_a.none() = 0,
      "Maps a function over an axis of each array in its arguments (None: over none) and stacks "
      "the results along out_axes. Axes are numbers, or trees like the arguments.");
}

}  // namespace cermet::python
