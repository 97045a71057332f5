#include "libclient/shim/session.h"

#include "libclient/shim/device.h"
#include "libclient/shim/engine.h"
#include "libclient/shim/libcudnn.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <mutex>
#include <system_error>
#include <utility>

namespace reformer::shim {
namespace {

// Executions between two looks at the clock.
constexpr std::uint32_t kExecutionsPerLook = 256;

Session* forked = nullptr;

}  // namespace

Mode mode_from_environment() {
  const char* value = std::getenv("REFORMER_MODE");
  const std::string_view text = value == nullptr ? "" : value;
  if (text.empty() || text == "assist") {
    return Mode::kAssist;
  }
  if (text == "observe") {
    return Mode::kObserve;
  }
  return text == "replay" ? Mode::kReplay : Mode::kOff;
}

void Session::lock() {
  for (std::mutex& mutex : building_) {
    mutex.lock();
  }
  descriptors_.lock_all();
  contexts_.lock();
  trials_.lock();
  found_.lock();
  sampler_.lock();
  loader_mutex().lock();  // last: taken under any of the others
}

void Session::unlock() {
  loader_mutex().unlock();
  sampler_.unlock();
  found_.unlock();
  trials_.unlock();
  contexts_.unlock();
  descriptors_.unlock_all();
  for (std::mutex& mutex : building_) {
    mutex.unlock();
  }
}

Session* Session::make() {
  const Mode mode = mode_from_environment();
  if (mode == Mode::kOff) {
    return nullptr;
  }
  client::Options options;
  options.name = "libreformer_cudnn 0.1.0";
  options.verify_misses = mode != Mode::kReplay;
  auto client = client::Client::create(std::move(options));
  if (!client) {
    return nullptr;
  }
  auto* session = new Session(mode, std::move(*client));
  forked = session;
  // A child must not inherit a lock that a thread of its parent was holding.
  (void)::pthread_atfork(
      [] { forked->lock(); }, [] { forked->unlock(); }, [] { forked->unlock(); });
  return session;
}

namespace {
// Not function-local statics with destructors: those would be destroyed at exit.
std::once_flag made;
std::atomic<Session*> the_session{nullptr};
}  // namespace

// As it stands now: the application may go to another folder before it loads one.
std::string Session::frozen_plans_of(const client::Client& client) {
  std::error_code error;
  const auto snapshot = std::filesystem::absolute(client.freeze_file(), error);
  return client.freeze_file().empty() || error ? "" : core::plans_path(snapshot.string());
}

Session* Session::get() noexcept {
  if (Session* known = existing()) {
    return known;
  }
  try {
    std::call_once(made, [] { the_session.store(make(), std::memory_order_release); });
  } catch (...) {
    return nullptr;
  }
  return existing();
}

Session* Session::existing() noexcept {
  return the_session.load(std::memory_order_acquire);
}

const core::Decision* Session::legacy_decision(cudnnHandle_t handle,
                                               const std::optional<core::Problem>& problem) {
  const RealCudnn* real = real_cudnn();
  const auto context =
      real != nullptr && problem ? contexts_.of(*real, handle) : std::optional<std::size_t>();
  const auto answer = context ? client_->query(*context, *problem)
                              : core::make_error(core::ErrorCode::kInvalidArgument, "no problem");
  client_->flush_if_due(kReportInterval);
  if (!answer || !may_serve((*answer)->decision)) {
    client_->note_passed_through();
    return nullptr;
  }
  return &(*answer)->decision;
}

std::optional<core::KeyHash> Session::legacy_key(cudnnHandle_t handle,
                                                 const std::optional<core::Problem>& problem,
                                                 std::uint64_t math,
                                                 std::uint64_t requested,
                                                 std::uint64_t workspace) {
  const RealCudnn* real = real_cudnn();
  if (mode_ == Mode::kObserve || real == nullptr || !problem) {
    return std::nullopt;
  }
  const auto context = contexts_.of(*real, handle);
  if (!context) {
    return std::nullopt;
  }
  // The daemon hears of the problem, whatever comes of the search.
  (void)client_->query(*context, *problem);
  std::uint64_t seed = *context;
  for (const std::uint64_t more : {math, requested, workspace}) {
    seed = (seed ^ more) * 0x9e3779b97f4a7c15u;
  }
  return core::hash_problem(seed, *problem);
}

bool Session::may_serve(const core::Decision& decision) const {
  if (mode_ == Mode::kObserve || decision.entries.empty()) {
    return false;
  }
  return mode_ == Mode::kAssist || decision.source == core::Source::kMeasured ||
         decision.source == core::Source::kFrozen;
}

Execution Session::begin_execution(const RealCudnn& real,
                                   cudnnHandle_t handle,
                                   cudnnBackendDescriptor_t plan) {
  Execution execution;
  std::uint64_t number = 0;
  descriptors_.with<PlanRecord>(plan, [&](PlanRecord& record) {
    execution.counter = record.counter;
    number = ++record.executions;
  });
  cudaStream_t stream = nullptr;
  if (execution.counter != nullptr && handle != nullptr && Sampler::is_due(number) &&
      real.get_stream != nullptr && real.get_stream(handle, &stream) == CUDNN_STATUS_SUCCESS) {
    execution.sample = sampler_.begin(stream);
  }
  return execution;
}

void Session::end_execution(const Execution& execution, bool succeeded) {
  if (execution.sample) {
    sampler_.end(execution.sample, execution.counter, succeeded);
  }
  if (execution.counter == nullptr || !succeeded) {
    return;
  }
  execution.counter->add(1);
  static thread_local std::uint32_t executions = 0;
  if (++executions % kExecutionsPerLook == 0) {
    sampler_.collect();
    client_->flush_if_due(kReportInterval);
  }
}

}  // namespace reformer::shim
