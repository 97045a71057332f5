#include "daemon/loop.h"

#include <uv.h>

#include <sched.h>

#include <cstdlib>
#include <utility>

namespace reformer::daemon {
namespace {

// A handle with the job it runs; freed by its close callback.
template <typename Handle>
struct JobHandle {
  Handle handle{};
  Loop::Job job;
  static JobHandle* of(Handle* handle) { return static_cast<JobHandle*>(handle->data); }
};

using Timer = JobHandle<uv_timer_t>;
using Signal = JobHandle<uv_signal_t>;

// Every handle that this file makes is freed here; others bring their own close callbacks.
void close_handle(uv_handle_t* handle, void* /*unused*/) {
  if (uv_is_closing(handle) != 0) {
    return;
  }
  switch (handle->type) {
    case UV_TIMER:
      uv_close(handle, [](uv_handle_t* h) { delete Timer::of(reinterpret_cast<uv_timer_t*>(h)); });
      break;
    case UV_SIGNAL:
      uv_close(handle,
               [](uv_handle_t* h) { delete Signal::of(reinterpret_cast<uv_signal_t*>(h)); });
      break;
    case UV_ASYNC:
      uv_close(handle, [](uv_handle_t* h) { delete reinterpret_cast<uv_async_t*>(h); });
      break;
    case UV_IDLE:
      uv_close(handle, [](uv_handle_t* h) { delete reinterpret_cast<uv_idle_t*>(h); });
      break;
    default:
      uv_close(handle, nullptr);
  }
}

}  // namespace

Loop::Loop() : loop_(std::make_unique<uv_loop_s>()) {
  if (uv_loop_init(loop_.get()) != 0) {
    std::abort();  // out of descriptors or memory before anything began
  }
  wake_ = new uv_async_t;
  wake_->data = this;
  uv_async_init(
      loop_.get(), wake_, [](uv_async_t* async) { static_cast<Loop*>(async->data)->run_posted(); });
  idle_ = new uv_idle_t;
  idle_->data = this;
  uv_idle_init(loop_.get(), idle_);
}

void Loop::stay_awake(std::chrono::microseconds duration) {
  awake_until_ = std::chrono::steady_clock::now() + duration;
  uv_idle_start(idle_, [](uv_idle_t* idle) { static_cast<Loop*>(idle->data)->spend_time_awake(); });
}

void Loop::spend_time_awake() {
  constexpr int kPauses = 64;  // some microseconds, which a sibling thread of the core can use
  if (std::chrono::steady_clock::now() >= awake_until_) {
    uv_idle_stop(idle_);
    return;
  }
  ::sched_yield();  // whoever shares the processor goes first
  for (int i = 0; i < kPauses; ++i) {
    __builtin_ia32_pause();
  }
}

std::uint64_t Loop::turn_ms() const {
  return uv_now(loop_.get());
}

bool Loop::awake() const {
  return uv_is_active(reinterpret_cast<const uv_handle_t*>(idle_)) != 0;
}

Loop::~Loop() {
  uv_walk(loop_.get(), close_handle, nullptr);
  uv_run(loop_.get(), UV_RUN_DEFAULT);
  uv_loop_close(loop_.get());
}

void Loop::post(Job job) {
  const std::lock_guard lock(mutex_);
  posted_.push_back(std::move(job));
  uv_async_send(wake_);
}

void Loop::run_posted() {
  std::vector<Job> jobs;
  {
    const std::lock_guard lock(mutex_);
    jobs.swap(posted_);
  }
  for (Job& job : jobs) {
    if (stopped_) {
      return;
    }
    job();
  }
}

void Loop::run() {
  uv_run(loop_.get(), UV_RUN_DEFAULT);
}

void Loop::stop() {
  stopped_ = true;
  uv_stop(loop_.get());
}

void Loop::every(unsigned interval_ms, Job job) {
  auto* timer = new Timer{{}, std::move(job)};
  uv_timer_init(loop_.get(), &timer->handle);
  timer->handle.data = timer;
  uv_timer_start(
      &timer->handle,
      [](uv_timer_t* handle) { Timer::of(handle)->job(); },
      interval_ms,
      interval_ms);
}

void Loop::on_signal(int number, Job job) {
  auto* signal = new Signal{{}, std::move(job)};
  uv_signal_init(loop_.get(), &signal->handle);
  signal->handle.data = signal;
  uv_signal_start(
      &signal->handle, [](uv_signal_t* handle, int) { Signal::of(handle)->job(); }, number);
}

}  // namespace reformer::daemon
