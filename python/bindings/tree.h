// Trees: nested lists, tuples and dicts whose leaves are arrays and other objects.
#pragma once

#include "convert.h"
#include "interpreter.h"

namespace cermet::python {

// Python's view of the global random state: a container of one array.
struct RandomState {};

// A level of a tree: RecursionError where there are too many, or a container holds itself. Signals
// are looked for, as containers that share others are walked for ever; what their handlers do to
// the tree leaves the part that is held here.
class Level {
 public:
  explicit Level(nb::handle tree = {}) : tree_(nb::borrow(tree)) {
    if (Py_EnterRecursiveCall(" in a tree of arrays")) throw nb::python_error();
    if (PyErr_CheckSignals() == 0) return;
    Py_LeaveRecursiveCall();
    throw nb::python_error();
  }
  Level(const Level&) = delete;
  Level& operator=(const Level&) = delete;
  ~Level() { Py_LeaveRecursiveCall(); }

 private:
  const nb::object tree_;
};

// Calls f(leaf) for each leaf, in order.
template <class F>
void tree_visit(nb::handle tree, F&& f) {
  if (is_array(tree)) {
    f(tree);
  } else if (PyDict_Check(tree.ptr())) {
    const Level level(tree);
    for (auto item : nb::borrow<nb::dict>(tree)) tree_visit(item.second, f);
  } else if (PyList_Check(tree.ptr()) || PyTuple_Check(tree.ptr())) {
    const Level level(tree);
    for (Py_ssize_t i = 0; i < Py_SIZE(tree.ptr()); ++i)
      tree_visit(PySequence_Fast_GET_ITEM(tree.ptr(), i), f);
  } else if (nb::isinstance<RandomState>(tree)) {
    const nb::object key = nb::cast(random::state());
    f(nb::handle(key));
  } else {
    f(tree);
  }
}

// The children as a tuple of the kind of another.
inline nb::object tuple_like(nb::handle tuple, const nb::list& children) {
  const nb::object type = nb::borrow(tuple.type());
  if (PyTuple_CheckExact(tuple.ptr())) return nb::tuple(children);
  return nb::hasattr(type, "_fields") ? type(*children) : type(children);
}

// The tree with f(leaf) in place of each leaf; new containers throughout.
template <class F>
nb::object tree_map(nb::handle tree, F&& f) {
  if (PyDict_Check(tree.ptr())) {
    const Level level(tree);
    nb::dict out;
    for (auto item : nb::borrow<nb::dict>(tree)) {
      const nb::object key = nb::borrow(item.first);
      out[key] = tree_map(item.second, f);
    }
    return out;
  }
  if (PyList_Check(tree.ptr()) || PyTuple_Check(tree.ptr())) {
    const Level level(tree);
    nb::list out;
    for (Py_ssize_t i = 0; i < Py_SIZE(tree.ptr()); ++i)
      out.append(tree_map(PySequence_Fast_GET_ITEM(tree.ptr(), i), f));
    if (PyList_Check(tree.ptr())) return out;
    return tuple_like(tree, out);
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

// The tree with its arrays replaced by those from `next` on. The random state keeps its own.
inline nb::object unflatten_arrays(nb::handle tree, const Arrays& arrays, std::size_t& next) {
  return tree_map(tree, [&](nb::handle leaf) -> nb::object {
    if (as_array(leaf)) return nb::cast(arrays.at(next++));
    if (nb::isinstance<RandomState>(leaf)) ++next;
    return nb::borrow(leaf);
  });
}

// Whether the arrays of `structure` can be put into `tree`: a container of its kind and, as a
// tuple's children are fixed, with arrays and containers where the structure has them.
inline bool takes_arrays(nb::handle tree, nb::handle structure) {
  if (PyDict_Check(structure.ptr())) return PyDict_Check(tree.ptr());
  if (PyList_Check(structure.ptr())) return PyList_Check(tree.ptr());
  if (as_array(structure)) return as_array(tree);
  if (!PyTuple_Check(structure.ptr())) return true;
  if (!PyTuple_Check(tree.ptr()) ||
      PyTuple_GET_SIZE(tree.ptr()) < PyTuple_GET_SIZE(structure.ptr()))
    return false;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(structure.ptr()); ++i)
    if (!takes_arrays(PyTuple_GET_ITEM(tree.ptr(), i), PyTuple_GET_ITEM(structure.ptr(), i)))
      return false;
  return true;
}

// Puts the arrays from `next` on into the containers of `tree`, at the places where `structure` (a
// tree_map of it, perhaps from a time when it held more, or others) has arrays.
inline void assign_arrays(nb::handle tree, nb::handle structure, const Arrays& arrays,
                          std::size_t& next) {
  // Replaces a child in its container, or descends into it.
  const auto child = [&](nb::object old, nb::handle form, auto&& replace) {
    const bool container = PyDict_Check(form.ptr()) || PyList_Check(form.ptr()) ||
                           PyTuple_Check(form.ptr()) || nb::isinstance<RandomState>(form);
    if (container && old.is_valid() && takes_arrays(old, form))
      assign_arrays(old, form, arrays, next);
    else if (container || as_array(form))
      replace(unflatten_arrays(form, arrays, next));
  };
  const auto checked = [](int status) {
    if (status) throw nb::python_error();
  };
  if (PyDict_Check(structure.ptr())) {
    for (auto item : nb::borrow<nb::dict>(structure))
      child(nb::borrow(PyDict_GetItem(tree.ptr(), item.first.ptr())), item.second,
            [&](nb::object value) {
              checked(PyDict_SetItem(tree.ptr(), item.first.ptr(), value.ptr()));
            });
  } else if (PyList_Check(structure.ptr()) || PyTuple_Check(structure.ptr())) {
    for (Py_ssize_t i = 0; i < Py_SIZE(structure.ptr()); ++i)
      child(nb::borrow(i < Py_SIZE(tree.ptr()) ? PySequence_Fast_GET_ITEM(tree.ptr(), i) : nullptr),
            PySequence_Fast_GET_ITEM(structure.ptr(), i), [&](nb::object value) {
              if (PyTuple_Check(tree.ptr()))  // fixed children: the array object itself changes
                *as_array(PyTuple_GET_ITEM(tree.ptr(), i)) = *as_array(value);
              else if (i < PyList_GET_SIZE(tree.ptr()))
                checked(PyList_SetItem(tree.ptr(), i, value.release().ptr()));
              else
                checked(PyList_Append(tree.ptr(), value.ptr()));
            });
  } else if (nb::isinstance<RandomState>(structure)) {
    random::set_state(arrays.at(next++));
  } else if (array* a = as_array(tree)) {
    *a = arrays.at(next++);
  }
}

// Lends a function the lists and dicts of a tree with other arrays in them. At the end they hold
// their own again, but for what the function changed: its updates are as visible as without us.
class Lent {
 public:
  // `depth`: how deep in the tree the arguments stand. One that is an array itself never changes.
  Lent(nb::handle tree, const Arrays& arrays, int depth) : arrays_(arrays), depth_(depth) {
    tree_ = lend(tree, 0);
  }
  Lent(const Lent&) = delete;
  Lent& operator=(const Lent&) = delete;
  ~Lent() {
    // From the last to the first: a container may stand in the tree twice.
    for (std::size_t i = places_.size(); i-- > 0;) give_back(places_[i]);
    for (std::size_t i = loans_.size(); i-- > 0;) {
      const Loan& l = loans_[i];
      array& own = *as_array(l.own);
      array& other = *as_array(l.other);
      if (other.node() == l.lent.node())
        other = own;  // wherever the function kept it
      else if (l.shown)
        own = other;  // changed in place
    }
  }

  // What to call the function with: the tree, but for new tuples.
  const nb::object& tree() const { return tree_; }

 private:
  struct Place {
    nb::object container, key, own, other;
  };
  struct Loan {
    nb::object own, other;
    array lent;
    bool shown;
  };

  nb::object lend(nb::handle tree, int depth) {
    if (as_array(tree)) {
      const array& lent = arrays_.at(next_++);
      loans_.push_back({nb::borrow(tree), nb::cast(lent), lent, depth > depth_});
      return loans_.back().other;
    }
    if (PyDict_Check(tree.ptr())) {
      for (auto item : nb::borrow<nb::dict>(tree)) lend_child(tree, item.first, item.second, depth);
    } else if (PyList_Check(tree.ptr())) {
      for (Py_ssize_t i = 0; i < PyList_GET_SIZE(tree.ptr()); ++i)
        lend_child(tree, nb::int_(i), PyList_GET_ITEM(tree.ptr(), i), depth);
    } else if (PyTuple_Check(tree.ptr())) {
      nb::list children;
      for (nb::handle child : nb::borrow<nb::tuple>(tree)) children.append(lend(child, depth + 1));
      return tuple_like(tree, children);
    } else if (nb::isinstance<RandomState>(tree)) {
      ++next_;
    }
    return nb::borrow(tree);
  }

  void lend_child(nb::handle container, nb::handle key, nb::handle child, int depth) {
    Place place{nb::borrow(container), nb::borrow(key), nb::borrow(child), lend(child, depth + 1)};
    if (place.other.is(child)) return;
    put(place, place.other);
    places_.push_back(std::move(place));
  }

  static void give_back(const Place& place) {
    PyObject* now = nullptr;
    if (PyDict_Check(place.container.ptr()))
      now = PyDict_GetItem(place.container.ptr(), place.key.ptr());
    else if (const auto i = nb::cast<Py_ssize_t>(place.key);
             i < PyList_GET_SIZE(place.container.ptr()))
      now = PyList_GET_ITEM(place.container.ptr(), i);
    if (now == place.other.ptr()) put(place, place.own);
  }

  static void put(const Place& place, const nb::object& value) {
    if (PyDict_Check(place.container.ptr()))
      PyDict_SetItem(place.container.ptr(), place.key.ptr(), value.ptr());
    else
      PyList_SetItem(place.container.ptr(), nb::cast<Py_ssize_t>(place.key),
                     nb::borrow(value).release().ptr());
  }

  const Arrays& arrays_;
  const int depth_;
  std::size_t next_ = 0;
  nb::object tree_;
  std::vector<Place> places_;
  std::vector<Loan> loans_;
};

}  // namespace cermet::python
