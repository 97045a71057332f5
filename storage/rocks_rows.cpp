// The families besides the records: uses, accuracy log, queue.
#include "storage/first_error.h"
#include "storage/rocks_database.h"
#include "storage/row_codec.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace reformer::storage {

using core::Error;
using core::ErrorCode;

core::Status RocksDatabase::add_uses(const core::KeyHash& hash, const UseStatistics& more) {
  const std::scoped_lock guard(write_mutex_);
  const core::Lookup<UseStatistics> before = find_uses(hash);
  if (!before && before.error().code != ErrorCode::kCorrupt) {
    return before.error();
  }
  UseStatistics sum = before.ok() && before->has_value() ? **before : UseStatistics{};
  sum.executions += more.executions;
  sum.last_used_s = std::max(sum.last_used_s, more.last_used_s);
  if (!std::isnan(more.in_application_us)) {
    sum.in_application_us = more.in_application_us;
  }
  Batch batch;
  batch.put(Family::kUses, key_of(hash), encode_row(sum));
  return store_->write(batch, Durability::kBuffered);
}

core::Lookup<UseStatistics> RocksDatabase::find_uses(const core::KeyHash& hash) {
  std::string bytes;
  const core::Result<bool> found = store_->get(Family::kUses, key_of(hash), bytes);
  if (!found) {
    return found.error();
  }
  if (!*found) {
    return std::optional<UseStatistics>();
  }
  const core::Result<UseStatistics> uses = decode_uses(bytes);
  if (!uses) {
    return uses.error();
  }
  return std::optional(*uses);
}

core::Status RocksDatabase::append_accuracy(const std::vector<AccuracyRow>& rows) {
  const std::scoped_lock guard(write_mutex_);
  Batch batch;
  std::uint64_t sequence = next_accuracy_;
  for (const AccuracyRow& row : rows) {
    batch.put(Family::kAccuracy, accuracy_key(row.time_s, sequence), encode_row(row));
    ++sequence;
  }
  batch.put(Family::kMeta, meta::kNextAccuracy, encode_row(sequence));
  core::Status written = write_counted(batch,
                                       meta::kAccuracyCount,
                                       counts_.accuracy_rows,
                                       counts_.accuracy_rows + rows.size(),
                                       Durability::kBuffered);
  if (written.ok()) {
    next_accuracy_ = sequence;
  }
  return written;
}

core::Status RocksDatabase::for_each_accuracy(
    std::int64_t since_s, const std::function<bool(const AccuracyRow&)>& visit) {
  FirstError first;
  const core::Status walked = store_->walk(
      Family::kAccuracy,
      accuracy_key(since_s, 0),
      [&](std::string_view, std::string_view bytes) {
        const core::Result<AccuracyRow> row = decode_accuracy(bytes);
        if (!row) {
          first.note(row.error());
          return true;
        }
        return visit(*row);
      },
      [&](std::string_view, const Error& error) { first.note(error); });
  return walked.ok() ? first.status() : walked;
}

core::Status RocksDatabase::trim_accuracy(std::int64_t before_s, std::uint64_t max_rows) {
  const std::scoped_lock guard(write_mutex_);
  Batch batch;
  std::uint64_t left = counts_.accuracy_rows;
  const core::Status walked = store_->walk(
      Family::kAccuracy,
      "",
      [&](std::string_view key, std::string_view) {
        if (left == 0 || (time_of_accuracy_key(key) >= before_s && left <= max_rows)) {
          return false;
        }
        batch.erase(Family::kAccuracy, key);
        --left;
        return true;
      },
      [](std::string_view, const Error&) {
      });  // what cannot be read is older: it goes with a repair
  if (!walked) {
    return walked;
  }
  return write_counted(
      batch, meta::kAccuracyCount, counts_.accuracy_rows, left, Durability::kBuffered);
}

core::Status RocksDatabase::put_job(const QueuedJob& job) {
  const core::KeyHash hash = core::hash_key(job.key);
  const std::scoped_lock guard(write_mutex_);
  std::string bytes;
  const core::Result<bool> found = store_->get(Family::kQueue, key_of(hash), bytes);
  if (!found) {
    return found.error();
  }
  Batch batch;
  batch.put(Family::kQueue, key_of(hash), encode_row(job));
  return write_counted(batch,
                       meta::kQueueCount,
                       counts_.queued,
                       counts_.queued + (*found ? 0 : 1),
                       Durability::kBuffered);
}

core::Status RocksDatabase::remove_job(const core::KeyHash& hash) {
  const std::scoped_lock guard(write_mutex_);
  std::string bytes;
  const core::Result<bool> found = store_->get(Family::kQueue, key_of(hash), bytes);
  if (!found) {
    return found.error();
  }
  if (!*found) {
    return core::ok_status();
  }
  Batch batch;
  batch.erase(Family::kQueue, key_of(hash));
  return write_counted(batch,
                       meta::kQueueCount,
                       counts_.queued,
                       counts_.queued - std::min<std::uint64_t>(counts_.queued, 1),
                       Durability::kBuffered);
}

core::Result<std::vector<QueuedJob>> RocksDatabase::jobs() {
  std::vector<QueuedJob> jobs;
  const core::Status walked = store_->walk(
      Family::kQueue,
      "",
      [&](std::string_view, std::string_view bytes) {
        if (core::Result<QueuedJob> job = decode_job(bytes); job.ok()) {
          jobs.push_back(*std::move(job));
        }
        return true;
      },
      [](std::string_view, const Error&) {});
  if (!walked) {
    return walked.error();
  }
  std::stable_sort(jobs.begin(), jobs.end(), [](const QueuedJob& a, const QueuedJob& b) {
    return a.queued_at_s < b.queued_at_s;
  });
  return jobs;
}

}  // namespace reformer::storage
