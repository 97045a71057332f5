#include "libclient/shim/sampler.h"

#include <bit>

namespace reformer::shim {
namespace {

constexpr int kNotReady = 600;  // CUDA_ERROR_NOT_READY
constexpr int kRelaxed = 2;     // CU_STREAM_CAPTURE_MODE_RELAXED
constexpr std::uint64_t kFirst = 4;
constexpr std::uint64_t kEvery = 1024;

// While a capture in global mode is under way anywhere in the process, calls like the query of an
// event fail and spoil the capture, unless the calling thread is in relaxed mode.
class RelaxedCapture {
 public:
  explicit RelaxedCapture(const Driver& driver) : driver_(driver) {
    ok_ = driver_.exchange_capture_mode(&mode_) == 0;
  }
  ~RelaxedCapture() {
    if (ok_) {
      (void)driver_.exchange_capture_mode(&mode_);
    }
  }
  RelaxedCapture(const RelaxedCapture&) = delete;
  RelaxedCapture& operator=(const RelaxedCapture&) = delete;
  [[nodiscard]] bool ok() const { return ok_; }

 private:
  const Driver& driver_;
  int mode_ = kRelaxed;
  bool ok_ = false;
};

}  // namespace

bool Sampler::is_due(std::uint64_t execution) {
  return execution >= kFirst && (std::has_single_bit(execution) || execution % kEvery == 0);
}

CuEvent Sampler::take_event(const Driver& driver) {
  if (pooled_ > 0) {
    return pool_[--pooled_];
  }
  CuEvent event = nullptr;
  if (driver.event_create(&event, 0) != 0) {
    broken_ = true;
    return nullptr;
  }
  return event;
}

void Sampler::give_back(CuEvent event) {
  if (event != nullptr && pooled_ < kPool) {
    pool_[pooled_++] = event;
  }
}

Sampler::Sample Sampler::begin(CuStream stream) {
  const Driver* loaded = driver();
  if (loaded == nullptr || !loaded->can_time()) {
    return {};
  }
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock.owns_lock() || broken_) {
    return {};
  }
  CuContext current = nullptr;
  int capturing = 1;
  if (loaded->ctx_get_current(&current) != 0 || current == nullptr ||
      (context_ != nullptr && context_ != current) ||
      loaded->stream_is_capturing(stream, &capturing) != 0 || capturing != 0) {
    return {};
  }
  context_ = current;
  const RelaxedCapture relaxed(*loaded);
  if (!relaxed.ok()) {
    return {};
  }
  collect_locked(*loaded);
  if (pending_count_ == kPending || broken_) {
    return {};
  }
  Sample sample{take_event(*loaded), take_event(*loaded), stream};
  if (sample.end == nullptr || sample.start == nullptr ||
      loaded->event_record(sample.start, stream) != 0) {
    broken_ = true;
    return {};
  }
  return sample;
}

void Sampler::end(const Sample& sample, client::UseCounter* counter, bool succeeded) {
  const Driver* loaded = driver();
  const bool recorded =
      succeeded && loaded != nullptr && loaded->event_record(sample.end, sample.stream) == 0;
  const std::lock_guard lock(mutex_);
  if (recorded && pending_count_ < kPending) {
    pending_[pending_count_++] = {sample.start, sample.end, counter};
  } else {
    give_back(sample.start);
    give_back(sample.end);
  }
}

void Sampler::collect() {
  const Driver* loaded = driver();
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock.owns_lock() || loaded == nullptr || pending_count_ == 0 || broken_) {
    return;
  }
  CuContext current = nullptr;
  if (loaded->ctx_get_current(&current) != 0 || current != context_) {
    return;
  }
  const RelaxedCapture relaxed(*loaded);
  if (relaxed.ok()) {
    collect_locked(*loaded);
  }
}

void Sampler::collect_locked(const Driver& driver) {
  std::size_t kept = 0;
  for (std::size_t i = 0; i < pending_count_; ++i) {
    const Pending sample = pending_[i];
    const CuResult done = driver.event_query(sample.end);
    if (done == kNotReady) {
      pending_[kept++] = sample;
      continue;
    }
    float milliseconds = 0;
    if (done != 0 || driver.event_elapsed(&milliseconds, sample.start, sample.end) != 0) {
      broken_ = true;
      pending_count_ = 0;
      return;
    }
    sample.counter->add_time(milliseconds * 1000);
    give_back(sample.start);
    give_back(sample.end);
  }
  pending_count_ = kept;
}

}  // namespace reformer::shim
