// Trees: nested lists, tuples and dicts whose leaves are arrays and other objects.
#pragma once

#include "convert.h"

namespace cermet::python {

// Python's view of the global random state: a container of one array.
struct RandomState {};

// Calls f(leaf) for each leaf, in order.
template <class F>
void tree_visit(nb::handle tree, F&& f) {
  if (PyDict_Check(tree.ptr())) {
    for (auto item : nb::borrow<nb::dict>(tree)) tree_visit(item.second, f);
  } else if (PyList_Check(tree.ptr()) || PyTuple_Check(tree.ptr())) {
    for (Py_ssize_t i = 0; i < Py_SIZE(tree.ptr()); ++i)
      tree_visit(PySequence_Fast_GET_ITEM(tree.ptr(), i), f);
  } else if (nb::isinstance<RandomState>(tree)) {
    const nb::object key = nb::cast(random::state());
    f(nb::handle(key));
  } else {
    f(tree);
  }
}

// The tree with f(leaf) in place of each leaf; new containers throughout.
template <class F>
nb::object tree_map(nb::handle tree, F&& f) {
  if (PyDict_Check(tree.ptr())) {
    nb::dict out;
    for (auto item : nb::borrow<nb::dict>(tree)) out[item.first] = tree_map(item.second, f);
    return out;
  }
  if (PyList_Check(tree.ptr()) || PyTuple_Check(tree.ptr())) {
    nb::list out;
    for (Py_ssize_t i = 0; i < Py_SIZE(tree.ptr()); ++i)
      out.append(tree_map(PySequence_Fast_GET_ITEM(tree.ptr(), i), f));
    if (PyList_Check(tree.ptr())) return out;
    nb::object type = nb::borrow(tree.type());
    if (nb::hasattr(type, "_fields")) return type(*out);  // a named tuple
    return nb::tuple(out);
  }
  return f(tree);
}

// Appends the arrays of a tree; other leaves are passed over.
inline void flatten_arrays(nb::handle tree, Arrays& out) {
  tree_visit(tree, [&](nb::handle leaf) {
    if (const array* a = as_array(leaf)) out.push_back(*a);
  });
}

// As above, but a leaf that is not an array raises ValueError for the transform `op`.
inline void flatten_only_arrays(nb::handle tree, Arrays& out, const char* op) {
  tree_visit(tree, [&](nb::handle leaf) {
    const array* a = as_array(leaf);
    if (!a)
      throw std::invalid_argument(std::string(op) +
                                  ": expected arrays in lists, tuples and dicts, not " +
                                  class_name(leaf));
    out.push_back(*a);
  });
}

// The tree with its arrays replaced by those from `next` on.
inline nb::object unflatten_arrays(nb::handle tree, const Arrays& arrays, std::size_t& next) {
  return tree_map(tree, [&](nb::handle leaf) -> nb::object {
    return as_array(leaf) ? nb::cast(arrays.at(next++)) : nb::borrow(leaf);
  });
}

// Puts the arrays from `next` on into the containers of `tree`, at the places where `structure` (a
// tree_map of it, perhaps from a time when it held more) has arrays.
inline void assign_arrays(nb::handle tree, nb::handle structure, const Arrays& arrays,
                          std::size_t& next) {
  // Replaces a child in its container, or descends into it.
  const auto child = [&](nb::handle old, nb::handle form, auto&& replace) {
    const bool container = PyDict_Check(form.ptr()) || PyList_Check(form.ptr()) ||
                           PyTuple_Check(form.ptr()) || nb::isinstance<RandomState>(form);
    if (container && old.is_valid())
      assign_arrays(old, form, arrays, next);
    else if (container || as_array(form))
      replace(unflatten_arrays(form, arrays, next));
  };
  if (PyDict_Check(structure.ptr())) {
    for (auto item : nb::borrow<nb::dict>(structure))
      child(PyDict_GetItem(tree.ptr(), item.first.ptr()), item.second,
            [&](nb::object value) { PyDict_SetItem(tree.ptr(), item.first.ptr(), value.ptr()); });
  } else if (PyList_Check(structure.ptr()) || PyTuple_Check(structure.ptr())) {
    for (Py_ssize_t i = 0; i < Py_SIZE(structure.ptr()); ++i)
      child(i < PySequence_Size(tree.ptr()) ? PySequence_Fast_GET_ITEM(tree.ptr(), i) : nullptr,
            PySequence_Fast_GET_ITEM(structure.ptr(), i), [&](nb::object value) {
              if (PyTuple_Check(tree.ptr()))  // fixed children: the array object itself changes
                *as_array(PyTuple_GET_ITEM(tree.ptr(), i)) = *as_array(value);
              else if (i < PyList_GET_SIZE(tree.ptr()))
                PyList_SetItem(tree.ptr(), i, value.release().ptr());
              else
                PyList_Append(tree.ptr(), value.ptr());
            });
  } else if (nb::isinstance<RandomState>(structure)) {
    random::set_state(arrays.at(next++));
  } else if (array* a = as_array(tree)) {
    *a = arrays.at(next++);
  }
}

}  // namespace cermet::python
