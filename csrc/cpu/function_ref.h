// A reference to a callable: no allocation, valid as long as the callable is.
#pragma once

#include <memory>
#include <type_traits>
#include <utility>

namespace cermet::cpu {

template <class Signature>
class FunctionRef;

template <class... Args>
class FunctionRef<void(Args...)> {
 public:
  template <class F>
    requires(!std::is_same_v<std::remove_cvref_t<F>, FunctionRef>)
  FunctionRef(F&& f)
      : object_(const_cast<void*>(static_cast<const void*>(std::addressof(f)))),
        call_([](void* o, Args... args) {
          (*static_cast<std::remove_reference_t<F>*>(o))(std::forward<Args>(args)...);
        }) {}
  void operator()(Args... args) const { call_(object_, std::forward<Args>(args)...); }

 private:
  void* object_;
  void (*call_)(void*, Args...);
};

}  // namespace cermet::cpu
