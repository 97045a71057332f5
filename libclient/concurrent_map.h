#pragma once

#include "core/key.h"

#include <atomic>
#include <cstddef>
#include <memory>
#include <utility>

namespace reformer::client {

// A map from key hashes to values that are never removed or replaced. Readers take no lock.
//
// Threads: find() and for_each() from any thread at any time, also in a child whose parent forked
// in the middle of an insert. emplace() and alias() from one thread at a time (the caller's lock).
// Ownership: values live as long as the map; superseded bucket arrays are kept until then, because
// a reader may still be in one (twice the memory of the last at most).
template <typename Value>
class ConcurrentMap {
 public:
  ConcurrentMap() : buckets_(new Buckets(kFirstCapacity, nullptr)) {}
  ~ConcurrentMap() {
    for (Node* node = nodes_.load(); node != nullptr;) {
      delete std::exchange(node, node->next);
    }
    for (const Buckets* buckets = buckets_.load(); buckets != nullptr;) {
      delete std::exchange(buckets, buckets->previous);
    }
  }
  ConcurrentMap(const ConcurrentMap&) = delete;
  ConcurrentMap& operator=(const ConcurrentMap&) = delete;

  // Null where there is none. Never allocates.
  [[nodiscard]] Value* find(const core::KeyHash& key) const noexcept {
    const Buckets& buckets = *buckets_.load(std::memory_order_acquire);
    std::size_t index = core::KeyHasher()(key) & buckets.mask;
    while (true) {
      const Bucket& bucket = buckets.slots[index];
      Value* value = bucket.value.load(std::memory_order_acquire);
      if (value == nullptr || bucket.key == key) {
        return value;
      }
      index = (index + 1) & buckets.mask;
    }
  }
  // The value that stands under `key` afterwards: a new one, or the one that was there before.
  template <typename... Args>
  Value* emplace(const core::KeyHash& key, Args&&... args) {
    if (Value* present = find(key)) {
      return present;
    }
    auto node =
        std::make_unique<Node>(nodes_.load(std::memory_order_relaxed), std::forward<Args>(args)...);
    put(key, &node->value);
    nodes_.store(node.get(), std::memory_order_release);
    return &node.release()->value;
  }
  // A second key for a value of this map.
  void alias(const core::KeyHash& key, Value* value) {
    if (find(key) == nullptr) {
      put(key, value);
    }
  }
  // Every value once.
  template <typename Visit>
  void for_each(Visit visit) const {
    for (Node* node = nodes_.load(std::memory_order_acquire); node != nullptr; node = node->next) {
      visit(node->value);
    }
  }
  [[nodiscard]] std::size_t keys() const { return used_.load(std::memory_order_relaxed); }

 private:
  static constexpr std::size_t kFirstCapacity = 256;

  struct Node {
    template <typename... Args>
    explicit Node(Node* follows, Args&&... args)
        : next(follows), value(std::forward<Args>(args)...) {}
    Node* const next;
    Value value;
  };
  struct Bucket {
    core::KeyHash key;  // written before value is published, then constant
    std::atomic<Value*> value{nullptr};
  };
  struct Buckets {
    Buckets(std::size_t capacity, const Buckets* before)
        : slots(std::make_unique<Bucket[]>(capacity)), mask(capacity - 1), previous(before) {}
    std::unique_ptr<Bucket[]> slots;
    std::size_t mask;
    const Buckets* previous;
  };

  static void put_into(Buckets& buckets, const core::KeyHash& key, Value* value) {
    std::size_t index = core::KeyHasher()(key) & buckets.mask;
    while (buckets.slots[index].value.load(std::memory_order_relaxed) != nullptr) {
      index = (index + 1) & buckets.mask;
    }
    buckets.slots[index].key = key;
    buckets.slots[index].value.store(value, std::memory_order_release);
  }
  void put(const core::KeyHash& key, Value* value) {
    Buckets* buckets = buckets_.load(std::memory_order_relaxed);
    const std::size_t used = used_.load(std::memory_order_relaxed) + 1;
    if (used * 2 > buckets->mask) {
      auto larger = std::make_unique<Buckets>((buckets->mask + 1) * 2, buckets);
      for (std::size_t i = 0; i <= buckets->mask; ++i) {
        if (Value* present = buckets->slots[i].value.load(std::memory_order_relaxed)) {
          put_into(*larger, buckets->slots[i].key, present);
        }
      }
      buckets = larger.release();
      buckets_.store(buckets, std::memory_order_release);
    }
    used_.store(used, std::memory_order_relaxed);
    put_into(*buckets, key, value);
  }

  std::atomic<Buckets*> buckets_;
  std::atomic<Node*> nodes_{nullptr};
  std::atomic<std::size_t> used_{0};
};

}  // namespace reformer::client
