// A map for caches: it keeps what was used last, up to a bound on the number or on the weight of
// its entries, and compares whole keys.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <list>
#include <unordered_map>
#include <utility>

namespace cermet {

template <class Key, class Value, class Hash = std::hash<Key>>
class LruMap {
  struct Entry {
    const Key key;
    Value value;
    std::size_t weight;
  };

 public:
  using Entries = std::list<Entry>;

  explicit LruMap(std::size_t capacity) : capacity_(capacity) {}

  // The value of a key, from now on the last used; null where there is none. Valid until the next
  // call of `insert`.
  Value* find(const Key& key) {
    if (!entries_.empty() && entries_.front().key == key) return &entries_.front().value;
    const auto it = places_.find(&key);
    if (it == places_.end()) return nullptr;
    entries_.splice(entries_.begin(), entries_, it->second);
    return &it->second->value;
  }
  // Gives a key that is not there a value. What was not used for longest goes when there is too
  // much, to `gone` for whom it may not end here; the new entry stays in any case.
  Value& insert(Key key, Value value, std::size_t weight = 1, Entries* gone = nullptr) {
    entries_.push_front({std::move(key), std::move(value), weight});
    try {
      places_.emplace(&entries_.front().key, entries_.begin());
    } catch (...) {
      entries_.pop_front();
      throw;
    }
    for (weight_ += weight; weight_ > capacity_ && entries_.size() > 1; ++dropped_) {
      places_.erase(&entries_.back().key);
      weight_ -= entries_.back().weight;
      if (gone)
        gone->splice(gone->begin(), entries_, std::prev(entries_.end()));
      else
        entries_.pop_back();
    }
    return entries_.front().value;
  }
  void clear() {
    places_.clear();
    entries_.clear();
    weight_ = 0;
  }

  std::size_t size() const { return entries_.size(); }
  std::uint64_t dropped() const { return dropped_; }

 private:
  struct HashOf {
    std::size_t operator()(const Key* key) const { return Hash()(*key); }
  };
  struct Equal {
    bool operator()(const Key* a, const Key* b) const { return *a == *b; }
  };

  std::size_t capacity_, weight_ = 0;
  std::uint64_t dropped_ = 0;
  Entries entries_;  // the last used first
  std::unordered_map<const Key*, typename Entries::iterator, HashOf, Equal> places_;
};

}  // namespace cermet
