// What the database costs, against the number of records in it (10^3 to 10^6, or what
// REFORMER_BENCH_RECORDS says): bytes of disk a record, time to open, also with damage in a
// table, to look a record up, to find out that there is none, to store one, and the memory of the
// process.
#include "bench/synthetic_records.h"

#include "storage/database.h"
#include "tests/resident_memory.h"

#include <benchmark/benchmark.h>
#include <stdlib.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace {

using namespace reformer;
using storage::Database;
namespace fs = std::filesystem;

const bench::SyntheticRecords& synthetic() {
  static const bench::SyntheticRecords records;
  return records;
}

// A database of so many records, made once for all benchmarks and removed at the end.
class Filled {
 public:
  explicit Filled(std::uint64_t records) : records_(records) {
    std::string name = (fs::temp_directory_path() / "reformer-bench-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) {
      std::abort();
    }
    path_ = name;
    open();
    const auto start = std::chrono::steady_clock::now();
    for (std::uint64_t number = 0; number < records; ++number) {
      if (!database_->put_record(synthetic().record(number),
                                 Database::Merge::kForce,
                                 storage::Durability::kBuffered)) {
        std::abort();
      }
    }
    const std::chrono::duration<double> filling = std::chrono::steady_clock::now() - start;
    fill_us_ = filling.count() * 1e6 / static_cast<double>(records);
    if (!database_->compact().ok()) {
      std::abort();
    }
    open();
    bytes_a_record_ =
        static_cast<double>(database_->counts()->disk_bytes) / static_cast<double>(records);
  }
  ~Filled() {
    database_.reset();
    std::error_code error;
    fs::remove_all(path_, error);
  }
  Filled(const Filled&) = delete;
  Filled& operator=(const Filled&) = delete;

  void close() { database_.reset(); }
  void open() {
    database_.reset();
    auto opened = Database::open(path_ / "db", storage::OpenMode::kReadWrite, nullptr);
    if (!opened.ok()) {
      std::abort();
    }
    database_ = *std::move(opened);
  }
  [[nodiscard]] Database& database() const { return *database_; }
  [[nodiscard]] const fs::path& path() const { return path_; }
  [[nodiscard]] std::uint64_t records() const { return records_; }
  [[nodiscard]] double bytes_a_record() const { return bytes_a_record_; }
  [[nodiscard]] double fill_us() const { return fill_us_; }

 private:
  std::uint64_t records_;
  fs::path path_;
  std::unique_ptr<Database> database_;
  double bytes_a_record_ = 0;
  double fill_us_ = 0;
};

// One at a time: the benchmarks of one size follow each other.
Filled& filled(std::uint64_t records) {
  static std::unique_ptr<Filled> current;
  if (!current || current->records() != records) {
    current.reset();
    current = std::make_unique<Filled>(records);
  }
  return *current;
}

void find_record(benchmark::State& state) {
  const Filled& store = filled(static_cast<std::uint64_t>(state.range(0)));
  std::mt19937_64 random(1);
  std::vector<core::Key> keys;
  for (int i = 0; i < 20'000; ++i) {
    keys.push_back(synthetic().key(random() % store.records()));
  }
  std::size_t next = 0;
  for (auto _ : state) {
    const auto found = store.database().find_record(keys[next++ % keys.size()]);
    if (!found.ok() || !found->has_value()) {
      state.SkipWithError("a record is missing");
      break;
    }
  }
  state.counters["bytes_a_record"] = store.bytes_a_record();
  state.counters["fill_us"] = store.fill_us();
  state.counters["resident_MiB"] = testing::resident_mib(::getpid());
}

void find_nothing(benchmark::State& state) {
  const Filled& store = filled(static_cast<std::uint64_t>(state.range(0)));
  core::KeyHash hash;
  std::mt19937_64 random(2);
  for (auto _ : state) {
    for (std::uint8_t& byte : hash.bytes) {
      byte = static_cast<std::uint8_t>(random());
    }
    benchmark::DoNotOptimize(store.database().find_record(hash));
  }
}

void put_record(benchmark::State& state) {
  Filled& store = filled(static_cast<std::uint64_t>(state.range(0)));
  const auto durability = static_cast<storage::Durability>(state.range(1));
  std::mt19937_64 random(3);
  for (auto _ : state) {
    const core::Record record = synthetic().record(random() % store.records());
    if (!store.database().put_record(record, Database::Merge::kForce, durability)) {
      state.SkipWithError("a record was not stored");
      break;
    }
  }
}

void open_database(benchmark::State& state) {
  Filled& store = filled(static_cast<std::uint64_t>(state.range(0)));
  for (auto _ : state) {
    state.PauseTiming();
    store.close();
    state.ResumeTiming();
    store.open();
  }
}

// 64 bytes of garbage in the middle of the table that has the records.
void damage_largest_table(const fs::path& directory) {
  fs::path largest;
  for (const auto& entry : fs::directory_iterator(directory)) {
    if (entry.path().extension() == ".sst" &&
        (largest.empty() || entry.file_size() > fs::file_size(largest))) {
      largest = entry.path();
    }
  }
  std::fstream bytes(largest, std::ios::in | std::ios::out | std::ios::binary);
  bytes.seekp(static_cast<std::streamoff>(fs::file_size(largest) / 2));
  bytes << std::string(64, 'Z');
  std::ofstream(directory / "DAMAGED") << "as if it had been met\n";
}

// A start after damage to one block: everything that can be read is copied.
void salvage(benchmark::State& state) {
  Filled& store = filled(static_cast<std::uint64_t>(state.range(0)));
  const std::uint64_t before = store.database().counts()->records;  // some keys came twice
  store.close();
  const fs::path copy = store.path() / "damaged";
  std::uint64_t kept = 0;
  double resident_mib = 0;
  for (auto _ : state) {
    fs::remove_all(copy);
    fs::create_directory(copy);
    fs::copy(store.path() / "db", copy / "db");
    damage_largest_table(copy / "db");
    const auto start = std::chrono::steady_clock::now();
    const auto opened = Database::open(copy / "db", storage::OpenMode::kReadWrite, nullptr);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    state.SetIterationTime(took.count());
    if (!opened.ok()) {
      state.SkipWithError("not salvaged");
      break;
    }
    kept = (*opened)->counts()->records;
    resident_mib = testing::resident_mib(::getpid());
  }
  state.counters["lost"] = static_cast<double>(before - kept);
  state.counters["resident_MiB"] = resident_mib;
  fs::remove_all(copy);
  store.open();
}

void sizes(benchmark::internal::Benchmark* benchmark, std::int64_t size) {
  benchmark->Arg(size)->Unit(benchmark::kMicrosecond);
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::int64_t> all{1'000, 10'000, 100'000, 1'000'000};
  if (const char* only = std::getenv("REFORMER_BENCH_RECORDS")) {
    all = {std::atoll(only)};
  }
  for (const std::int64_t size : all) {
    sizes(benchmark::RegisterBenchmark("find_record", find_record), size);
    sizes(benchmark::RegisterBenchmark("find_nothing", find_nothing), size);
    sizes(benchmark::RegisterBenchmark("open", open_database), size);
    benchmark::RegisterBenchmark("salvage", salvage)
        ->Arg(size)
        ->UseManualTime()
        ->Iterations(1)
        ->Unit(benchmark::kMillisecond);
    for (const auto durability : {storage::Durability::kSynced, storage::Durability::kBuffered}) {
      benchmark::RegisterBenchmark("put_record/synced_or_buffered", put_record)
          ->Args({size, static_cast<std::int64_t>(durability)})
          ->Unit(benchmark::kMicrosecond);
    }
  }
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
