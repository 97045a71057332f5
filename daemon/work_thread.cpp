#include "daemon/work_thread.h"

#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include <utility>

namespace reformer::daemon {

WorkThread::WorkThread(const std::string& name, std::size_t bound, int nice)
    : bound_(bound), thread_([this, nice] {
        if (nice != 0) {
          (void)::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), nice);
        }
        run();
      }) {
  pthread_setname_np(thread_.native_handle(), name.substr(0, 15).c_str());
}

WorkThread::~WorkThread() {
  finish();
}

bool WorkThread::try_submit(Job job) {
  const std::lock_guard lock(mutex_);
  if (ending_ || jobs_.size() >= bound_) {
    return false;
  }
  jobs_.push_back(std::move(job));
  changed_.notify_all();
  return true;
}

bool WorkThread::submit(Job job) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return ending_ || jobs_.size() < bound_; });
  if (ending_) {
    return false;
  }
  jobs_.push_back(std::move(job));
  changed_.notify_all();
  return true;
}

std::size_t WorkThread::size() const {
  const std::lock_guard lock(mutex_);
  return jobs_.size();
}

void WorkThread::finish() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
    changed_.notify_all();
  }
  if (thread_.joinable()) {
    thread_.join();
  }
}

void WorkThread::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return ending_ || !jobs_.empty(); });
    if (jobs_.empty()) {
      return;
    }
    Job job = std::move(jobs_.front());
    jobs_.pop_front();
    changed_.notify_all();
    lock.unlock();
    job();
    job = nullptr;
    lock.lock();
  }
}

}  // namespace reformer::daemon
