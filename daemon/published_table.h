#pragma once

#include "core/key.h"
#include "core/result.h"
#include "core/shared_table.h"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>

namespace reformer::daemon {

// A mapped table file that this process made. Immutable owner of the memory; unmapped with the
// last reference.
class TableMapping {
 public:
  // Makes `path` anew (a temporary file renamed over it, mode 0644).
  // Errors: kExhausted (no room), kUnavailable.
  static core::Result<std::shared_ptr<TableMapping>> create(const std::filesystem::path& path,
                                                            std::uint32_t slot_count,
                                                            std::uint64_t heap_bytes);
  ~TableMapping();
  TableMapping(const TableMapping&) = delete;
  TableMapping& operator=(const TableMapping&) = delete;
  [[nodiscard]] std::span<std::byte> memory() const { return memory_; }
  // Makes sure that the first `bytes` can be written. Errors: kExhausted (the file system is full).
  core::Status reserve(std::size_t bytes);

 private:
  TableMapping(std::span<std::byte> memory, int file) : memory_(memory), file_(file) {}
  std::span<std::byte> memory_;
  int file_;
  std::size_t reserved_ = 0;
};

// Readable from any thread for as long as it is held.
struct TableSnapshot {
  std::shared_ptr<const TableMapping> mapping;
  core::shared_table::View view;
};

// Writes the table of measured answers that clients and the loop read. Grows by making a new file.
// Threads: one (the storage thread); `on_new` is called on it.
class PublishedTable {
 public:
  using OnNew = std::function<void(std::shared_ptr<const TableSnapshot>)>;
  static core::Result<std::unique_ptr<PublishedTable>> create(std::filesystem::path path,
                                                              std::uint64_t expected_entries,
                                                              OnNew on_new);
  core::Status put(const core::KeyHash& key, const core::Decision& decision);
  void remove(const core::KeyHash& key);
  [[nodiscard]] bool contains(const core::KeyHash& key) const;
  [[nodiscard]] std::uint32_t entries() const { return writer_->entries(); }
  [[nodiscard]] std::uint64_t bytes() const { return snapshot_->mapping->memory().size(); }

 private:
  PublishedTable(std::filesystem::path path, OnNew on_new);
  core::Status put_reserved(const core::KeyHash& key, const core::Decision& decision);
  [[nodiscard]] std::uint64_t live_heap_bytes() const;
  core::Status renew(std::uint32_t slot_count, std::uint64_t heap_bytes);
  std::filesystem::path path_;
  OnNew on_new_;
  std::uint64_t generation_ = 0;
  std::uint32_t slot_count_ = 0;
  std::shared_ptr<TableMapping> mapping_;  // the current one
  std::shared_ptr<const TableSnapshot> snapshot_;
  std::optional<core::shared_table::Writer> writer_;
};

}  // namespace reformer::daemon
