#include "daemon/verification_queue.h"

#include <algorithm>
#include <limits>
#include <utility>

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
  const auto [at, is_new] = entries_.try_emplace(core::hash_key(job.key), Entry{job});
  quarantined_ += is_new && at->second.job.quarantined ? 1 : 0;
}

VerificationQueue::Added VerificationQueue::add(const storage::QueuedJob& job, std::int64_t now_s) {
  const core::KeyHash hash = core::hash_key(job.key);
  if (const auto found = entries_.find(hash); found != entries_.end()) {
    ++found->second.uses;
    return found->second.job.quarantined ? Added::kQuarantined : Added::kAlready;
  }
  Entry entry{job};
  if (waiting() >= options_.bound && !make_room(value_of(entry, now_s), now_s)) {
    ++dropped_;
    return Added::kRefused;
  }
  entries_.emplace(hash, std::move(entry));
  changes_.put(job);
  return Added::kQueued;
}

// Drops the least useful waiting job if its value is less than `worth`.
bool VerificationQueue::make_room(double worth, std::int64_t now_s) {
  auto least = entries_.end();
  double least_value = worth;
  for (auto at = entries_.begin(); at != entries_.end(); ++at) {
    const Entry& other = at->second;
    if (other.running || other.first || other.job.quarantined) {
      continue;
    }
    if (const double value = value_of(other, now_s); value < least_value) {
      least_value = value;
      least = at;
    }
  }
  if (least == entries_.end()) {
    return false;
  }
  ++dropped_;
  changes_.remove(least->first);
  entries_.erase(least);
  return true;
}

void VerificationQueue::add_uses(const core::KeyHash& hash, std::uint64_t uses) {
  if (const auto found = entries_.find(hash); found != entries_.end()) {
    found->second.uses += uses;
  }
}

bool VerificationQueue::add_first(const storage::QueuedJob& job) {
  const core::KeyHash hash = core::hash_key(job.key);
  const auto known = entries_.find(hash);
  const bool one_more = known == entries_.end() || known->second.job.quarantined;
  if (one_more && waiting() >= options_.bound &&
      !make_room(std::numeric_limits<double>::infinity(), job.queued_at_s)) {
    return false;
  }
  Entry& entry = entries_[hash];
  quarantined_ -= entry.job.quarantined ? 1 : 0;
  if (!entry.running) {
    entry.job = job;
  }
  entry.job.quarantined = false;
  entry.job.attempts = 0;
  entry.first = true;
  entry.not_before_s = 0;
  changes_.put(entry.job);
  return true;
}

std::optional<VerificationQueue::Pick> VerificationQueue::pick(
    std::int64_t now_s, const std::function<bool(const storage::QueuedJob&)>& eligible) {
  Entry* best = nullptr;
  std::vector<Entry*> able;
  for (auto& [hash, entry] : entries_) {
    if (entry.running || entry.job.quarantined || now_s < entry.not_before_s ||
        !eligible(entry.job)) {
      continue;
    }
    able.push_back(&entry);
    const auto rank = [&](const Entry& e) { return std::pair(e.first, value_of(e, now_s)); };
    if (best == nullptr || rank(entry) > rank(*best)) {
      best = &entry;
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
  if (const auto found = entries_.find(hash); found != entries_.end()) {
    quarantined_ -= found->second.job.quarantined ? 1 : 0;
    entries_.erase(found);
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
  ++entry.job.attempts;
  if (entry.job.attempts >= options_.max_attempts && !entry.job.quarantined) {
    entry.job.quarantined = true;
    ++quarantined_;
  }
  changes_.put(entry.job);
}

void VerificationQueue::put_back(const core::KeyHash& hash, std::int64_t not_before_s) {
  if (const auto found = entries_.find(hash); found != entries_.end()) {
    found->second.running = false;
    found->second.not_before_s = std::max(found->second.not_before_s, not_before_s);
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
  return true;
}

std::size_t VerificationQueue::waiting() const {
  return entries_.size() - quarantined_;
}

std::size_t VerificationQueue::position(const core::KeyHash& hash, std::int64_t now_s) const {
  const auto found = entries_.find(hash);
  if (found == entries_.end() || found->second.first) {
    return 0;
  }
  const double own = value_of(found->second, now_s);
  return static_cast<std::size_t>(
      std::count_if(entries_.begin(), entries_.end(), [&](const auto& other) {
        return !other.second.job.quarantined &&
               (other.second.first || value_of(other.second, now_s) > own);
      }));
}

}  // namespace reformer::daemon
