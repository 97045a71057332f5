#include "daemon/verification_queue.h"

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

namespace reformer::daemon {
namespace {

constexpr double kDoublingSeconds = 600;  // a job's value doubles for each ten minutes of waiting
constexpr double kLeastGainUs = 0.1;      // so that use counts order what no model has judged
constexpr float kUnknownGainUs = 5;
constexpr std::uint32_t kMaxRepeats = 3;  // of a measurement that was disturbed
constexpr std::int64_t kRepeatAfterSeconds = 600;

}  // namespace

VerificationQueue::VerificationQueue(Options options, Changes changes, std::uint64_t seed)
    : options_(options), changes_(std::move(changes)), random_state_(seed | 1) {}

double VerificationQueue::value(const storage::QueuedJob& job,
                                std::uint64_t uses,
                                std::int64_t now_s) {
  const float known = job.predicted_gain_us >= 0 ? job.predicted_gain_us : kUnknownGainUs;
  const double gain = std::max<double>(known, kLeastGainUs);
  const auto age = static_cast<double>(std::max<std::int64_t>(0, now_s - job.queued_at_s));
  return static_cast<double>(uses) * gain * (1 + age / kDoublingSeconds);
}

double VerificationQueue::value_of(const Entry& entry, std::int64_t now_s) const {
  return value(entry.job, entry.uses, now_s);
}

double VerificationQueue::next_random() {  // xorshift64*
  random_state_ ^= random_state_ >> 12;
  random_state_ ^= random_state_ << 25;
  random_state_ ^= random_state_ >> 27;
  return static_cast<double>((random_state_ * 0x2545f4914f6cdd1dULL) >> 11) * 0x1p-53;
}

void VerificationQueue::restore(const storage::QueuedJob& job) {
  const core::KeyHash hash = core::hash_key(job.key);
  if (job.quarantined) {
    quarantine(hash, job);
  } else if (entries_.try_emplace(hash, Entry{job}).second) {
    arrived();
  }
}

// Something may be picked that could not be before, or dropped that is worth less than the floor.
void VerificationQueue::arrived() {
  ++arrivals_;
  floor_ = 0;
}

VerificationQueue::Added VerificationQueue::add(const storage::QueuedJob& job, std::int64_t now_s) {
  const core::KeyHash hash = core::hash_key(job.key);
  if (const auto found = entries_.find(hash); found != entries_.end()) {
    ++found->second.uses;
    return Added::kAlready;
  }
  if (quarantined_.contains(hash)) {
    return Added::kQuarantined;
  }
  const double worth = value(job, 1, now_s);
  if (entries_.size() >= options_.bound && !make_room(worth, now_s)) {
    ++dropped_;
    return Added::kRefused;
  }
  entries_.emplace(hash, Entry{job});
  ++arrivals_;
  floor_ = std::min(floor_, worth);
  changes_.put(job);
  return Added::kQueued;
}

// Drops the least useful hundredth of what waits, so that this is not looked for again for each job
// that comes. False: what comes is worth less than all that waits.
bool VerificationQueue::make_room(double worth, std::int64_t now_s) {
  if (worth <= floor_) {
    return false;
  }
  std::vector<std::pair<double, const core::KeyHash*>> able;
  for (const auto& [hash, entry] : entries_) {
    if (!entry.running && !entry.first) {
      able.emplace_back(value_of(entry, now_s), &hash);
    }
  }
  if (able.empty()) {
    return false;
  }
  const std::size_t count = std::min(able.size(), std::max<std::size_t>(1, options_.bound / 100));
  const auto last = able.begin() + static_cast<std::ptrdiff_t>(count - 1);
  std::nth_element(able.begin(), last, able.end());
  floor_ = std::min_element(able.begin(), last + 1)->first;
  if (worth <= floor_) {
    return false;
  }
  floor_ = last->first;
  for (auto at = able.begin(); at <= last; ++at) {
    const core::KeyHash hash = *at->second;
    changes_.remove(hash);
    entries_.erase(hash);
  }
  dropped_ += count;
  return true;
}

void VerificationQueue::quarantine(const core::KeyHash& hash, const storage::QueuedJob& job) {
  quarantined_.insert_or_assign(hash, job);
  if (quarantined_.size() <= options_.bound) {
    return;
  }
  std::vector<std::pair<std::int64_t, const core::KeyHash*>> oldest;
  for (const auto& [other, kept] : quarantined_) {
    oldest.emplace_back(kept.queued_at_s, &other);
  }
  const std::size_t count = std::max<std::size_t>(1, options_.bound / 100);
  const auto last = oldest.begin() + static_cast<std::ptrdiff_t>(count - 1);
  std::nth_element(oldest.begin(), last, oldest.end());
  for (auto at = oldest.begin(); at <= last; ++at) {
    const core::KeyHash other = *at->second;
    changes_.remove(other);
    quarantined_.erase(other);
  }
}

void VerificationQueue::add_uses(const core::KeyHash& hash, std::uint64_t uses) {
  if (const auto found = entries_.find(hash); found != entries_.end()) {
    found->second.uses += uses;
  }
}

bool VerificationQueue::add_first(const storage::QueuedJob& job) {
  const core::KeyHash hash = core::hash_key(job.key);
  if (!entries_.contains(hash) && entries_.size() >= options_.bound &&
      !make_room(std::numeric_limits<double>::infinity(), job.queued_at_s)) {
    return false;
  }
  quarantined_.erase(hash);
  Entry& entry = entries_[hash];
  if (!entry.running) {
    entry.job = job;
  }
  entry.job.quarantined = false;
  entry.job.attempts = 0;
  entry.first = true;
  entry.not_before_s = 0;
  arrived();
  changes_.put(entry.job);
  return true;
}

std::optional<VerificationQueue::Pick> VerificationQueue::pick(
    std::int64_t now_s, const std::function<bool(const storage::QueuedJob&)>& eligible) {
  Entry* best = nullptr;
  std::pair<bool, double> best_rank;
  std::vector<Entry*> able;
  for (auto& [hash, entry] : entries_) {
    if (entry.running || now_s < entry.not_before_s || !eligible(entry.job)) {
      continue;
    }
    able.push_back(&entry);
    const std::pair rank(entry.first, value_of(entry, now_s));
    if (best == nullptr || rank > best_rank) {
      best = &entry;
      best_rank = rank;
    }
  }
  if (best == nullptr) {
    return std::nullopt;
  }
  // The probability of this pick among the jobs that could have been picked now. One that somebody
  // asked for, or that was picked by a rule which never picks others, stands for itself only.
  const double uniform = options_.random_share / static_cast<double>(able.size());
  Entry* chosen = best;
  if (!best->first && next_random() < options_.random_share) {
    chosen = able[static_cast<std::size_t>(next_random() * static_cast<double>(able.size()))];
  }
  const double probability =
      best->first ? 1 : uniform + (chosen == best ? 1 - options_.random_share : 0);
  chosen->running = true;
  if (best->first || options_.random_share <= 0) {
    return Pick{chosen->job, 1, 1};
  }
  return Pick{chosen->job,
              static_cast<float>(probability),
              static_cast<std::uint32_t>(std::min<std::size_t>(able.size(), UINT32_MAX))};
}

void VerificationQueue::finish(const core::KeyHash& hash) {
  if (entries_.erase(hash) + quarantined_.erase(hash) > 0) {
    changes_.remove(hash);
  }
}

void VerificationQueue::fail(const core::KeyHash& hash, const std::string& why) {
  const auto found = entries_.find(hash);
  if (found == entries_.end()) {
    return;
  }
  Entry& entry = found->second;
  entry.running = false;
  entry.first = false;
  entry.job.last_error = why;
  entry.job.quarantined = ++entry.job.attempts >= options_.max_attempts;
  arrived();
  changes_.put(entry.job);
  if (entry.job.quarantined) {
    const storage::QueuedJob job = std::move(entry.job);
    entries_.erase(found);
    quarantine(hash, job);
  }
}

void VerificationQueue::put_back(const core::KeyHash& hash, std::int64_t not_before_s) {
  if (const auto found = entries_.find(hash); found != entries_.end()) {
    found->second.running = false;
    found->second.not_before_s = std::max(found->second.not_before_s, not_before_s);
    arrived();
  }
}

bool VerificationQueue::repeat_later(const core::KeyHash& hash, std::int64_t now_s) {
  const auto found = entries_.find(hash);
  if (found == entries_.end() || found->second.repeats == kMaxRepeats) {
    return false;
  }
  Entry& entry = found->second;
  entry.running = false;
  entry.first = false;
  entry.not_before_s = now_s + (kRepeatAfterSeconds << entry.repeats++);
  arrived();
  return true;
}

std::size_t VerificationQueue::position(const core::KeyHash& hash, std::int64_t now_s) const {
  const auto found = entries_.find(hash);
  if (found == entries_.end() || found->second.first) {
    return 0;
  }
  const double own = value_of(found->second, now_s);
  return static_cast<std::size_t>(
      std::count_if(entries_.begin(), entries_.end(), [&](const auto& other) {
        return other.second.first || value_of(other.second, now_s) > own;
      }));
}

}  // namespace reformer::daemon
