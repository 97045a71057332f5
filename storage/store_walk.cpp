// Walking a family, also around damage.
#include "storage/store.h"

#include <rocksdb/snapshot.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

namespace reformer::storage {
namespace {

using core::Error;

// The smallest string of 24 bytes above `key` (padded with zeros) plus 2^bit; empty past the end.
std::string beyond(std::string_view key, int bit) {
  constexpr std::size_t kWidth = 24;
  std::string next(key.substr(0, kWidth));
  next.resize(kWidth, '\0');
  unsigned carry = 1U << (bit % 8);
  for (std::size_t i = kWidth - static_cast<std::size_t>(bit / 8); i-- > 0 && carry != 0;) {
    const unsigned sum = static_cast<unsigned char>(next[i]) + carry;
    next[i] = static_cast<char>(sum & 0xff);
    carry = sum >> 8;
  }
  return carry != 0 ? std::string() : next;
}
constexpr int kBeyondBits = 24 * 8;

// An iterator placed at the first entry from a key on. Each attempt near damage needs a new one:
// an iterator that has failed once does not always read again.
using SeekNew = std::function<std::unique_ptr<rocksdb::Iterator>(std::string_view key)>;

// The first entry behind `last` that can be read, where the very next one cannot. Ever larger steps
// find an end of the damage, halving ones come back towards it. Null if there is none.
std::unique_ptr<rocksdb::Iterator> seek_behind_damage(const SeekNew& seek,
                                                      const std::string& last) {
  constexpr int kHalvings = 24;
  std::unique_ptr<rocksdb::Iterator> good;
  std::string bad = last;
  int bit = 0;
  for (; bit < kBeyondBits && !good; ++bit) {
    const std::string target = beyond(last, bit);
    if (target.empty()) {
      return nullptr;
    }
    std::unique_ptr<rocksdb::Iterator> found = seek(target);
    if (found->Valid()) {
      good = std::move(found);
    } else if (found->status().ok()) {
      return nullptr;  // nothing behind the damage
    } else {
      bad = target;
    }
  }
  // The last step, of 2^(bit - 1), came from where half of it led.
  for (int halving = bit - 3; halving >= std::max(0, bit - 3 - kHalvings); --halving) {
    const std::string target = beyond(bad, halving);
    std::unique_ptr<rocksdb::Iterator> found = seek(target);
    if (found->Valid()) {
      good = std::move(found);
    } else {
      bad = target;
    }
  }
  return good;
}

}  // namespace

core::Status Store::walk(Family family,
                         std::string_view first,
                         const std::function<bool(std::string_view, std::string_view)>& visit,
                         const std::function<void(std::string_view, const Error&)>& damaged) {
  const core::Result<std::shared_ptr<Handles>> open = current();
  if (!open) {
    return open.error();
  }
  rocksdb::DB* database = (*open)->database.get();
  rocksdb::ManagedSnapshot snapshot(database);
  rocksdb::ReadOptions options;
  options.fill_cache = false;
  options.snapshot = snapshot.snapshot();
  const SeekNew seek = [&](std::string_view key) {
    std::unique_ptr<rocksdb::Iterator> iterator(
        database->NewIterator(options, (*open)->family(family)));
    iterator->Seek(to_slice(key));
    return iterator;
  };
  std::string last(first);
  std::unique_ptr<rocksdb::Iterator> iterator = seek(first);
  while (iterator) {
    for (; iterator->Valid(); iterator->Next()) {
      last.assign(iterator->key().data(), iterator->key().size());
      if (!visit(last, to_view(iterator->value()))) {
        return core::ok_status();
      }
    }
    const rocksdb::Status status = iterator->status();
    if (status.ok()) {
      break;
    }
    const Error error = failed("walking the database", status);
    if (!status.IsCorruption()) {
      return error;
    }
    damaged(last, error);
    iterator = seek_behind_damage(seek, last);
  }
  return core::ok_status();
}

}  // namespace reformer::storage
