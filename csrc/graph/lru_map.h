// A map for caches: it keeps what was used last, up to a bound, and compares whole keys.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <unordered_map>
#include <utility>

namespace cermet {

template <class Key, class Value, class Hash = std::hash<Key>>
class LruMap {
 public:
  explicit LruMap(std::size_t capacity) : capacity_(capacity) {}

  // The value of a key, from now on the last used; null where there is none. Valid until the next
  // call of `insert`.
  Value* find(const Key& key) {
    const auto it = places_.find(&key);
    if (it == places_.end()) return nullptr;
    entries_.splice(entries_.begin(), entries_, it->second);
    return &it->second->second;
  }
  // Gives a key that is not there a value. What was not used for longest goes when there are too
  // many.
  Value& insert(Key key, Value value) {
    entries_.emplace_front(std::move(key), std::move(value));
    places_.emplace(&entries_.front().first, entries_.begin());
    if (entries_.size() > capacity_) {
      places_.erase(&entries_.back().first);
      entries_.pop_back();
      ++dropped_;
    }
    return entries_.front().second;
  }
  void clear() {
    places_.clear();
    entries_.clear();
  }

  std::size_t size() const { return entries_.size(); }
  std::uint64_t dropped() const { return dropped_; }

 private:
  using Entries = std::list<std::pair<const Key, Value>>;  // the last used first
  struct HashOf {
    std::size_t operator()(const Key* key) const { return Hash()(*key); }
  };
  struct Equal {
    bool operator()(const Key* a, const Key* b) const { return *a == *b; }
  };

  std::size_t capacity_;
  std::uint64_t dropped_ = 0;
  Entries entries_;
  std::unordered_map<const Key*, typename Entries::iterator, HashOf, Equal> places_;
};

}  // namespace cermet
