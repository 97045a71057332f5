#include "cli/train_data.h"

#include "cli/progress.h"
#include "cli/reply.h"
#include "cli/units.h"
#include "interchange/measurements.h"

#include <algorithm>
#include <csignal>
#include <utility>

namespace reformer::cli {
namespace {

volatile std::sig_atomic_t interrupt_seen = 0;

void on_interrupt(int) {
  interrupt_seen = 1;
}

// What a piece of work threw, mostly std::bad_alloc; null where it is done.
std::exception_ptr failure_of(const std::function<void(std::size_t)>& body, std::size_t piece) {
  try {
    body(piece);
  } catch (...) {
    return std::current_exception();
  }
  return nullptr;
}

}  // namespace

Reading read_measurements(Session& session,
                          const std::vector<std::string>& files,
                          const std::function<void(const core::Record&)>& visit) {
  Reading reading;
  for (const std::string& path : files) {
    const auto opened = interchange::MeasurementReader::open(path);
    if (!opened) {
      throw Failure(kExitFailed, printable(path + ": " + opened.error().message));
    }
    interchange::MeasurementReader& reader = **opened;
    Progress progress(*session.err, session.progress, "read");
    while (true) {
      const auto record = reader.next();
      if (record && !record->has_value()) {
        break;
      }
      if (record) {
        ++reading.records;
        visit(**record);
      } else if (reader.broken()) {
        throw Failure(kExitFailed, printable(path + ": " + record.error().message));
      } else {
        ++reading.rejected;
        *session.err << "reformerctl: " << printable(path + ": " + record.error().message) << '\n';
      }
      progress.update(
          reader.bytes_consumed(), reader.bytes_total(), human_count(reading.records) + " records");
    }
  }
  return reading;
}

Workers::Workers(std::size_t threads) {
  for (std::size_t i = 1; i < threads; ++i) {
    threads_.emplace_back([this](const std::stop_token& stop) { work(stop); });
  }
}

Workers::~Workers() {
  for (std::jthread& thread : threads_) {
    thread.request_stop();
  }
}

void Workers::run(std::size_t count, const std::function<void(std::size_t)>& body) {
  std::unique_lock lock(mutex_);
  body_ = &body;
  next_ = 0;
  count_ = count;
  unfinished_ = count;
  wake_.notify_all();
  take_pieces(lock);
  done_.wait(lock, [this] { return unfinished_ == 0; });
  body_ = nullptr;
  if (const std::exception_ptr failure = std::exchange(failure_, nullptr)) {
    std::rethrow_exception(failure);
  }
}

void Workers::work(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (wake_.wait(lock, stop, [this] { return body_ != nullptr && next_ < count_; })) {
    take_pieces(lock);
  }
}

void Workers::take_pieces(std::unique_lock<std::mutex>& lock) {
  while (next_ < count_) {
    const std::size_t piece = next_++;
    const auto& body = *body_;
    lock.unlock();
    const std::exception_ptr failure = failure_of(body, piece);
    lock.lock();
    if (failure && !failure_) {
      failure_ = failure;
      unfinished_ -= count_ - next_;  // nobody takes those
      next_ = count_;
    }
    if (--unfinished_ == 0) {
      done_.notify_all();
    }
  }
}

std::size_t default_threads() {
  return std::clamp<std::size_t>(std::thread::hardware_concurrency(), 1, 8);
}

InterruptGuard::InterruptGuard() {
  interrupt_seen = 0;
  struct sigaction action {};
  action.sa_handler = on_interrupt;
  action.sa_flags = SA_RESETHAND;  // the second one does what it always does
  sigaction(SIGINT, &action, nullptr);
}

InterruptGuard::~InterruptGuard() {
  std::signal(SIGINT, SIG_DFL);
}

bool InterruptGuard::interrupted() {
  return interrupt_seen != 0;
}

}  // namespace reformer::cli
