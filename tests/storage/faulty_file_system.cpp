#include "tests/storage/faulty_file_system.h"

#include <chrono>
#include <thread>
#include <utility>

namespace reformer::storage::testing {
namespace {

using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

class FaultyWritableFile : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  FaultyWritableFile(std::unique_ptr<rocksdb::FSWritableFile> file, FaultyFileSystem* disk)
      : FSWritableFileOwnerWrapper(std::move(file)), disk_(disk) {}

  IOStatus Append(const Slice& data, const IOOptions& options, IODebugContext* context) override {
    const IOStatus fault = disk_->before_write();
    if (!fault.ok()) {  // like a real disk: some of it may have been written
      (void)target()->Append(Slice(data.data(), data.size() / 2), options, context);
      return fault;
    }
    return target()->Append(data, options, context);
  }
  IOStatus Append(const Slice& data,
                  const IOOptions& options,
                  const rocksdb::DataVerificationInfo& /*verification*/,
                  IODebugContext* context) override {
    return Append(data, options, context);
  }
  IOStatus Sync(const IOOptions& options, IODebugContext* context) override {
    const IOStatus fault = disk_->before_write();
    return fault.ok() ? target()->Sync(options, context) : fault;
  }

 private:
  FaultyFileSystem* disk_;
};

class FaultyRandomAccessFile : public rocksdb::FSRandomAccessFileOwnerWrapper {
 public:
  FaultyRandomAccessFile(std::unique_ptr<rocksdb::FSRandomAccessFile> file, FaultyFileSystem* disk)
      : FSRandomAccessFileOwnerWrapper(std::move(file)), disk_(disk) {}

  IOStatus Read(std::uint64_t offset,
                std::size_t count,
                const IOOptions& options,
                Slice* result,
                char* scratch,
                IODebugContext* context) const override {
    if (disk_->failing_reads) {
      return IOStatus::IOError("injected");
    }
    return FSRandomAccessFileOwnerWrapper::Read(offset, count, options, result, scratch, context);
  }

 private:
  FaultyFileSystem* disk_;
};

}  // namespace

IOStatus FaultyFileSystem::before_write() {
  ++writes;
  if (const unsigned delay = write_delay_us; delay > 0) {
    std::this_thread::sleep_for(std::chrono::microseconds(delay));
  }
  const unsigned draw = random_ = random_ * 1103515245 + 12345;
  if ((draw >> 16) % 1000 >= failing_writes) {
    return IOStatus::OK();
  }
  return fail_with_no_space ? IOStatus::NoSpace("No space left on device")
                            : IOStatus::IOError("injected");
}

IOStatus FaultyFileSystem::NewWritableFile(const std::string& name,
                                           const rocksdb::FileOptions& options,
                                           std::unique_ptr<rocksdb::FSWritableFile>* file,
                                           IODebugContext* context) {
  if (read_only) {
    return IOStatus::IOError("Read-only file system");
  }
  IOStatus status = target()->NewWritableFile(name, options, file, context);
  if (status.ok()) {
    *file = std::make_unique<FaultyWritableFile>(std::move(*file), this);
  }
  return status;
}

IOStatus FaultyFileSystem::NewRandomAccessFile(const std::string& name,
                                               const rocksdb::FileOptions& options,
                                               std::unique_ptr<rocksdb::FSRandomAccessFile>* file,
                                               IODebugContext* context) {
  IOStatus status = target()->NewRandomAccessFile(name, options, file, context);
  if (status.ok()) {
    *file = std::make_unique<FaultyRandomAccessFile>(std::move(*file), this);
  }
  return status;
}

}  // namespace reformer::storage::testing
