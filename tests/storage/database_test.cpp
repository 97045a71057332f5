#include "storage/database.h"

#include "storage/row_codec.h"
#include "tests/storage/sample_records.h"
#include "tests/storage/temporary_directory.h"

#include <boost/test/unit_test.hpp>

#include <atomic>
#include <map>
#include <thread>

namespace {

using namespace reformer;
using storage::AccuracyRow;
using storage::Database;
using storage::Durability;
using storage::OpenMode;
using storage::QueuedJob;
using storage::UseStatistics;
using storage::testing::same_record;
using storage::testing::sample_key;
using storage::testing::sample_record;
using Merge = Database::Merge;

struct Fixture {
  Fixture() { open(); }
  void open(OpenMode mode = OpenMode::kReadWrite) {
    database.reset();
    storage::OpenReport report;
    auto opened = Database::open(directory.database(), mode, &report);
    BOOST_REQUIRE_MESSAGE(opened.ok(), (opened.ok() ? std::string() : opened.error().message));
    BOOST_TEST(report.set_aside.empty());
    database = *std::move(opened);
  }
  bool put(const core::Record& record, Merge merge = Merge::kBetterFounded) const {
    return database->put_record(record, merge, Durability::kBuffered).value();
  }
  [[nodiscard]] storage::Counts counts() const { return database->counts().value(); }

  storage::testing::TemporaryDirectory directory;
  std::unique_ptr<Database> database;
};

AccuracyRow accuracy_row(std::int64_t time_s) {
  AccuracyRow row;
  row.time_s = time_s;
  row.variant = "heuristic_a";
  row.predicted = core::EngineConfig(static_cast<std::int32_t>(time_s));
  row.time_us = 15;
  row.best_us = 10;
  row.pool = 7;
  row.view = 2;
  row.top3 = true;
  row.uses = 12;
  row.device = "NVIDIA H200/sm90/132";
  return row;
}

QueuedJob queued_job(std::uint32_t number) {
  QueuedJob job;
  job.key = sample_key(number);
  job.library = "/usr/lib/libcudnn.so.9";
  job.uid = 1000;
  job.queued_at_s = 1000 - static_cast<std::int64_t>(number);
  job.last_error = "no GPU";
  return job;
}

std::vector<std::int64_t> accuracy_times(Database& database, std::int64_t since_s) {
  std::vector<std::int64_t> times;
  BOOST_TEST(database
                 .for_each_accuracy(since_s,
                                    [&](const AccuracyRow& row) {
                                      times.push_back(row.time_s);
                                      return true;
                                    })
                 .ok());
  return times;
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(database_test, Fixture)

BOOST_AUTO_TEST_CASE(an_unknown_key_is_absent_not_an_error) {
  BOOST_TEST(!database->find_record(sample_key(1)).value().has_value());
  BOOST_TEST(!database->find_uses({}).value().has_value());
  BOOST_TEST(!database->find_meta("champion").value().has_value());
  BOOST_TEST(!database->forget_record(core::hash_key(sample_key(1))).value());
  BOOST_TEST(counts().records == 0U);
}

BOOST_AUTO_TEST_CASE(records_are_found_now_and_after_opening_again) {
  for (std::uint32_t number = 0; number < 200; ++number) {
    BOOST_TEST(put(sample_record(number)));
  }
  for (int round = 0; round < 3; ++round) {
    for (std::uint32_t number = 0; number < 200; ++number) {
      const core::Record record = sample_record(number);
      BOOST_TEST(same_record(database->find_record(record.key).value().value(), record));
      BOOST_TEST(
          same_record(database->find_record(core::hash_key(record.key)).value().value(), record));
    }
    BOOST_TEST(counts().records == 200U);
    open(round == 0 ? OpenMode::kReadWrite : OpenMode::kReadOnly);
  }
}

BOOST_AUTO_TEST_CASE(the_better_founded_record_stays_unless_forced) {
  core::Record record = sample_record(1);
  core::Record disturbed = record;
  disturbed.provenance.disturbed = true;
  BOOST_TEST(put(record));
  BOOST_TEST(!put(record));  // no better than itself
  BOOST_TEST(!put(disturbed));
  BOOST_TEST(!database->find_record(record.key).value()->provenance.disturbed);
  BOOST_TEST(put(disturbed, Merge::kForce));
  BOOST_TEST(database->find_record(record.key).value()->provenance.disturbed);
  BOOST_TEST(put(record));
  BOOST_TEST(counts().records == 1U);
}

BOOST_AUTO_TEST_CASE(forgotten_records_are_gone_and_not_counted) {
  for (std::uint32_t number = 0; number < 5; ++number) {
    put(sample_record(number));
  }
  BOOST_TEST(database->forget_record(core::hash_key(sample_key(3))).value());
  BOOST_TEST(!database->forget_record(core::hash_key(sample_key(3))).value());
  BOOST_TEST(counts().records == 4U);
  open();
  BOOST_TEST(counts().records == 4U);
  BOOST_TEST(!database->find_record(sample_key(3)).value().has_value());
}

BOOST_AUTO_TEST_CASE(a_walk_meets_every_record_once_in_key_order_and_may_stop) {
  for (std::uint32_t number = 0; number < 100; ++number) {
    put(sample_record(number));
  }
  std::vector<core::KeyHash> seen;
  const auto no_damage = [](const core::KeyHash&, const core::Error&) { BOOST_TEST(false); };
  BOOST_TEST(database
                 ->for_each_record(
                     [&](const core::Record& record) {
                       seen.push_back(core::hash_key(record.key));
                       (void)database->forget_record(seen.back());  // the walk is of a snapshot
                       return true;
                     },
                     no_damage)
                 .ok());
  BOOST_TEST(seen.size() == 100U);
  BOOST_TEST(std::is_sorted(seen.begin(), seen.end()));
  BOOST_TEST(counts().records == 0U);

  put(sample_record(1));
  put(sample_record(2));
  int visited = 0;
  BOOST_TEST(
      database->for_each_record([&](const core::Record&) { return ++visited < 1; }, no_damage)
          .ok());
  BOOST_TEST(visited == 1);
}

BOOST_AUTO_TEST_CASE(a_record_that_cannot_be_stored_is_refused) {
  core::Record record = sample_record(1);
  record.candidates[0].workspace_bytes = -1;
  const auto stored = database->put_record(record, Merge::kForce, Durability::kSynced);
  BOOST_TEST((stored.error().code == core::ErrorCode::kInvalidArgument));
  BOOST_TEST(counts().records == 0U);
}

BOOST_AUTO_TEST_CASE(uses_add_up) {
  const core::KeyHash hash = core::hash_key(sample_key(1));
  BOOST_TEST(
      database->add_uses(hash, {.executions = 3, .last_used_s = 50, .in_application_us = 7.5F})
          .ok());
  BOOST_TEST(database->add_uses(hash, {.executions = 4, .last_used_s = 40}).ok());
  open();
  const UseStatistics uses = database->find_uses(hash).value().value();
  BOOST_TEST(uses.executions == 7U);
  BOOST_TEST(uses.last_used_s == 50);
  BOOST_TEST(uses.in_application_us == 7.5F);
}

BOOST_AUTO_TEST_CASE(accuracy_rows_come_in_order_of_time_with_all_their_fields) {
  BOOST_TEST(database->append_accuracy({accuracy_row(30), accuracy_row(10)}).ok());
  open();
  BOOST_TEST(database->append_accuracy({accuracy_row(20), accuracy_row(20)}).ok());
  BOOST_TEST((accuracy_times(*database, 0) == std::vector<std::int64_t>{10, 20, 20, 30}));
  BOOST_TEST((accuracy_times(*database, 20) == std::vector<std::int64_t>{20, 20, 30}));
  BOOST_TEST(counts().accuracy_rows == 4U);
  (void)database->for_each_accuracy(10, [](const AccuracyRow& row) {
    const AccuracyRow expected = accuracy_row(10);
    BOOST_TEST(row.variant == expected.variant);
    BOOST_TEST((row.predicted == expected.predicted));
    BOOST_TEST(row.slowdown() == 1.5);
    BOOST_TEST(row.pool == expected.pool);
    BOOST_TEST(row.view == expected.view);
    BOOST_TEST((row.top3 && !row.top1 && row.covered));
    BOOST_TEST(row.uses == expected.uses);
    BOOST_TEST(row.device == expected.device);
    return false;
  });
}

BOOST_AUTO_TEST_CASE(an_accuracy_row_of_an_older_daemon_is_of_the_first_view) {
  std::string bytes = storage::encode_row(accuracy_row(10));
  BOOST_TEST(storage::decode_accuracy(bytes).value().view == 2);
  std::string impossible = bytes;
  impossible.back() = 3;
  BOOST_TEST(!storage::decode_accuracy(impossible).ok());
  bytes.front() = 2;  // the form, without the last byte
  BOOST_TEST(!storage::decode_accuracy(bytes).ok());
  bytes.pop_back();
  BOOST_TEST(storage::decode_accuracy(bytes).value().view == 0);
  BOOST_TEST(storage::decode_accuracy(bytes).value().pool == 7U);
}

BOOST_AUTO_TEST_CASE(trimming_drops_the_oldest_rows) {
  for (std::int64_t time_s = 0; time_s < 10; ++time_s) {
    BOOST_TEST(database->append_accuracy({accuracy_row(time_s)}).ok());
  }
  BOOST_TEST(database->trim_accuracy(3, 100).ok());
  BOOST_TEST(accuracy_times(*database, 0).front() == 3);
  BOOST_TEST(database->trim_accuracy(0, 2).ok());
  BOOST_TEST((accuracy_times(*database, 0) == std::vector<std::int64_t>{8, 9}));
  BOOST_TEST(counts().accuracy_rows == 2U);
}

BOOST_AUTO_TEST_CASE(jobs_wait_in_order_over_a_restart) {
  for (const std::uint32_t number : {1U, 2U, 3U, 2U}) {
    BOOST_TEST(database->put_job(queued_job(number)).ok());
  }
  BOOST_TEST(database->remove_job(core::hash_key(sample_key(1))).ok());
  BOOST_TEST(database->remove_job(core::hash_key(sample_key(9))).ok());
  open();
  const auto jobs = database->jobs().value();
  BOOST_REQUIRE(jobs.size() == 2U);
  BOOST_TEST(counts().queued == 2U);
  BOOST_TEST((jobs[0].key == sample_key(3)));  // queued first
  BOOST_TEST((jobs[1].key == sample_key(2)));
  BOOST_TEST(jobs[0].library == "/usr/lib/libcudnn.so.9");
  BOOST_TEST(jobs[0].uid == 1000U);
  BOOST_TEST(jobs[0].last_error == "no GPU");
}

BOOST_AUTO_TEST_CASE(meta_of_callers_does_not_meet_our_own) {
  BOOST_TEST(database->put_meta("schema", "theirs").ok());
  open();
  BOOST_TEST(database->find_meta("schema").value().value() == "theirs");
}

BOOST_AUTO_TEST_CASE(a_read_only_database_refuses_writes) {
  put(sample_record(1));
  open(OpenMode::kReadOnly);
  const auto stored = database->put_record(sample_record(2), Merge::kForce, Durability::kSynced);
  BOOST_TEST((stored.error().code == core::ErrorCode::kUnavailable));
  BOOST_TEST(counts().records == 1U);
}

BOOST_AUTO_TEST_CASE(compaction_keeps_everything) {
  for (std::uint32_t number = 0; number < 300; ++number) {
    put(sample_record(number));
  }
  BOOST_TEST(database->compact().ok());
  BOOST_TEST(counts().disk_bytes > 0U);
  for (std::uint32_t number = 0; number < 300; ++number) {
    BOOST_TEST(database->find_record(sample_key(number)).value().has_value());
  }
}

BOOST_AUTO_TEST_CASE(many_threads_read_and_write_at_once) {
  constexpr std::uint32_t kWriters = 3;
  constexpr std::uint32_t kEach = 60;
  std::atomic<bool> stop{false};
  std::atomic<int> wrong{0};
  {
    std::jthread reader([&] {
      while (!stop.load()) {
        for (std::uint32_t number = 0; number < kWriters * kEach; number += 7) {
          const auto found = database->find_record(sample_key(number));
          wrong +=
              !found.ok() || (found->has_value() && !same_record(**found, sample_record(number)))
                  ? 1
                  : 0;
        }
        (void)database->counts();
      }
    });
    {
      std::vector<std::jthread> writers;
      for (std::uint32_t writer = 0; writer < kWriters; ++writer) {
        writers.emplace_back([&, writer] {
          for (std::uint32_t i = 0; i < kEach; ++i) {
            const std::uint32_t number = writer * kEach + i;
            const auto stored =
                database->put_record(sample_record(number), Merge::kForce, Durability::kBuffered);
            wrong += stored.ok() ? 0 : 1;
            wrong +=
                database->add_uses(core::hash_key(sample_key(0)), {.executions = 1}).ok() ? 0 : 1;
          }
        });
      }
    }
    stop = true;
  }
  BOOST_TEST(wrong.load() == 0);
  BOOST_TEST(counts().records == kWriters * kEach);
  BOOST_TEST(database->find_uses(core::hash_key(sample_key(0))).value()->executions ==
             kWriters * kEach);
}

BOOST_AUTO_TEST_SUITE_END()
