#pragma once

#include <rocksdb/env.h>
#include <rocksdb/file_system.h>

#include <atomic>
#include <memory>
#include <random>
#include <string>

namespace reformer::storage::testing {

// The real file system, with faults that are switched on and off. Threads: any.
class FaultyFileSystem : public rocksdb::FileSystemWrapper {
 public:
  using IOStatus = rocksdb::IOStatus;

  FaultyFileSystem() : FileSystemWrapper(rocksdb::FileSystem::Default()) {}
  [[nodiscard]] const char* Name() const override { return "FaultyFileSystem"; }

  // Share of writes that fail, in thousandths, and what they fail with.
  std::atomic<unsigned> failing_writes{0};
  std::atomic<bool> fail_with_no_space{true};
  std::atomic<bool> read_only{false};  // no file can be made
  std::atomic<bool> failing_reads{false};
  std::atomic<unsigned> write_delay_us{0};
  std::atomic<unsigned> writes{0};  // so far

  IOStatus before_write();

  IOStatus NewWritableFile(const std::string& name,
                           const rocksdb::FileOptions& options,
                           std::unique_ptr<rocksdb::FSWritableFile>* file,
                           rocksdb::IODebugContext* context) override;
  IOStatus NewRandomAccessFile(const std::string& name,
                               const rocksdb::FileOptions& options,
                               std::unique_ptr<rocksdb::FSRandomAccessFile>* file,
                               rocksdb::IODebugContext* context) override;

 private:
  std::atomic<unsigned> random_{12345};
};

// An environment made of it.
struct FaultyEnvironment {
  std::shared_ptr<FaultyFileSystem> disk = std::make_shared<FaultyFileSystem>();
  std::unique_ptr<rocksdb::Env> env = rocksdb::NewCompositeEnv(disk);
};

}  // namespace reformer::storage::testing
