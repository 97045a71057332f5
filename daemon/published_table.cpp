#include "daemon/published_table.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <span>
#include <string>
#include <utility>

namespace reformer::daemon {
namespace {

namespace table = core::shared_table;

constexpr std::uint64_t kEntryBytes = 512;  // of heap, to start with
constexpr std::uint32_t kLeastSlots = 4096;
constexpr std::size_t kReserveBytes = 1 << 20;

core::Error system_error(const std::string& what) {
  const auto code = errno == ENOSPC || errno == ENOMEM ? core::ErrorCode::kExhausted
                                                       : core::ErrorCode::kUnavailable;
  return core::make_error(code, what + ": " + std::strerror(errno));
}

table::Slot read_slot(std::span<const std::byte> memory, std::uint32_t index) {
  table::Slot slot{};
  std::memcpy(
      &slot, memory.data() + table::kHeaderBytes + std::size_t{index} * sizeof slot, sizeof slot);
  return slot;
}

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  ~FileDescriptor() {
    if (fd_ >= 0) {
      ::close(fd_);
    }
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  [[nodiscard]] int get() const { return fd_; }
  [[nodiscard]] int release() const { return std::exchange(fd_, -1); }

 private:
  mutable int fd_;
};

}  // namespace

core::Result<std::shared_ptr<TableMapping>> TableMapping::create(const std::filesystem::path& path,
                                                                 std::uint32_t slot_count,
                                                                 std::uint64_t heap_bytes) {
  const std::string temporary = path.string() + ".new";
  ::unlink(temporary.c_str());
  const FileDescriptor file(
      ::open(temporary.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (file.get() < 0) {
    return system_error(temporary);
  }
  const std::size_t bytes = table::table_bytes(slot_count, heap_bytes);
  // The heap is not allocated ahead: an empty table is small. reserve() does it as it is needed.
  if (::fchmod(file.get(), 0644) != 0 || ::ftruncate(file.get(), static_cast<off_t>(bytes)) != 0) {
    return system_error(temporary);
  }
  void* address = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  if (address == MAP_FAILED) {
    return system_error(temporary);
  }
  std::shared_ptr<TableMapping> made(
      new TableMapping({static_cast<std::byte*>(address), bytes}, file.release()));
  const auto reserved = made->reserve(table::table_bytes(slot_count, 0));
  return reserved ? core::Result<std::shared_ptr<TableMapping>>(std::move(made)) : reserved.error();
}

// A page that the file system has no room for would be a SIGBUS at the first write to it.
core::Status TableMapping::reserve(std::size_t bytes) {
  if (bytes <= reserved_) {
    return core::ok_status();
  }
  const std::size_t wanted = std::min((bytes / kReserveBytes + 1) * kReserveBytes, memory_.size());
  const int failed = ::posix_fallocate(
      file_, static_cast<off_t>(reserved_), static_cast<off_t>(wanted - reserved_));
  if (failed != 0) {
    return core::make_error(core::ErrorCode::kExhausted,
                            std::string("shared table: ") + std::strerror(failed));
  }
  reserved_ = wanted;
  return core::ok_status();
}

TableMapping::~TableMapping() {
  ::munmap(memory_.data(), memory_.size());
  ::close(file_);
}

PublishedTable::PublishedTable(std::filesystem::path path, OnNew on_new)
    : path_(std::move(path)), on_new_(std::move(on_new)) {
  generation_ =
      static_cast<std::uint64_t>(std::chrono::system_clock::now().time_since_epoch().count());
}

core::Result<std::unique_ptr<PublishedTable>> PublishedTable::create(std::filesystem::path path,
                                                                     std::uint64_t expected_entries,
                                                                     OnNew on_new) {
  std::unique_ptr<PublishedTable> made(new PublishedTable(std::move(path), std::move(on_new)));
  const std::uint64_t entries = std::min<std::uint64_t>(expected_entries, 1u << 26);
  const auto slots = std::max(kLeastSlots, std::bit_ceil(static_cast<std::uint32_t>(entries * 2)));
  const auto status = made->renew(slots, slots / 2 * kEntryBytes);
  if (!status) {
    return status.error();
  }
  return made;
}

core::Status PublishedTable::put(const core::KeyHash& key, const core::Decision& decision) {
  auto status = put_reserved(key, decision);
  if (status || status.error().code != core::ErrorCode::kExhausted) {
    return status;
  }
  // By what is current, not by what was: answers that are replaced again and again do not add up.
  const std::uint64_t live = live_heap_bytes() + table::kMaxDecisionBytes;
  const auto slots =
      std::max(kLeastSlots, std::bit_ceil(static_cast<std::uint32_t>(writer_->entries() + 1) * 2));
  status = renew(slots, std::max<std::uint64_t>(slots / 2 * kEntryBytes, live + live / 2));
  return status ? put_reserved(key, decision) : status;
}

core::Status PublishedTable::put_reserved(const core::KeyHash& key,
                                          const core::Decision& decision) {
  const std::size_t end = table::table_bytes(slot_count_, writer_->heap_used());
  const auto reserved =
      mapping_->reserve(std::min(end + table::kMaxDecisionBytes, mapping_->memory().size()));
  return reserved ? writer_->put(key, decision) : reserved;
}

std::uint64_t PublishedTable::live_heap_bytes() const {
  std::uint64_t bytes = 0;
  for (std::uint32_t i = 0; i < slot_count_; ++i) {
    const table::Slot slot = read_slot(mapping_->memory(), i);
    bytes += (std::uint64_t{slot.length} + 7) / 8 * 8;
  }
  return bytes;
}

void PublishedTable::remove(const core::KeyHash& key) {
  writer_->remove(key);
}

bool PublishedTable::contains(const core::KeyHash& key) const {
  return snapshot_->view.find(key).has_value();
}

// Readers keep the old file until they look again; the old memory stays while anyone holds it.
core::Status PublishedTable::renew(std::uint32_t slot_count, std::uint64_t heap_bytes) {
  // Shared pointers are beyond the analyzer.
  // NOLINTNEXTLINE(clang-analyzer-cplusplus.NewDeleteLeaks)
  auto mapping = TableMapping::create(path_, slot_count, heap_bytes);
  if (!mapping) {
    return mapping.error();
  }
  table::Writer next((*mapping)->memory(), slot_count, heap_bytes, ++generation_);
  if (snapshot_) {
    const auto old = snapshot_->mapping->memory();
    for (std::uint32_t i = 0; i < slot_count_; ++i) {
      const table::Slot slot = read_slot(old, i);
      const core::KeyHash key = std::bit_cast<core::KeyHash>(slot.key);
      if (const auto decision = slot.length != 0 ? snapshot_->view.find(key) : std::nullopt) {
        const std::size_t end = table::table_bytes(slot_count, next.heap_used());
        auto status = (*mapping)->reserve(
            std::min(end + table::kMaxDecisionBytes, (*mapping)->memory().size()));
        if (!status || !(status = next.put(key, *decision))) {
          return status;
        }
      }
    }
  }
  auto view = table::View::open((*mapping)->memory());
  if (!view) {
    return view.error();
  }
  if (std::rename((path_.string() + ".new").c_str(), path_.c_str()) != 0) {
    return system_error(path_);
  }
  if (writer_) {
    writer_->supersede();
  }
  writer_.emplace(next);
  slot_count_ = slot_count;
  mapping_ = *mapping;
  snapshot_ = std::make_shared<const TableSnapshot>(TableSnapshot{*mapping, *view});
  on_new_(snapshot_);
  return core::ok_status();
}

}  // namespace reformer::daemon
