// reformer-worker: measures problems for reformerd. JSON lines on stdin and stdout
// (docs/worker-protocol.md), messages for people on stderr. A process of its own, because a host
// may have several cuDNN builds, because a faulting GPU must not take the daemon down, and because
// its CUDA context must go away when there is nothing to do.
#include "daemon/worker/messages.h"
#include "daemon/worker/recorded_timer.h"

#include <sched.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>
#ifdef REFORMER_HAVE_CUDNN
#include "cudnn/driver.h"
#include "daemon/worker/gpu_timer.h"
#endif

namespace {

using namespace reformer::worker;
namespace core = reformer::core;

constexpr std::size_t kMaxLineBytes = std::size_t{1} << 20;
constexpr std::size_t kMaxQueued = 64;
constexpr int kExitGpuFault = 3;  // the supervisor starts another one

// Lines from stdin, read on a thread of its own so that a cancellation arrives during a
// measurement.
class Inbox {
 public:
  // Blocks for the next job or bad line; false at the end of input.
  bool next(std::variant<Job, BadRequest>& item) {
    std::unique_lock lock(mutex_);
    ready_.wait(lock, [this] { return ended_ || !items_.empty(); });
    if (items_.empty()) {
      return false;
    }
    item = std::move(items_.front());
    items_.pop_front();
    if (const Job* job = std::get_if<Job>(&item)) {
      current_ = job->id;
      cancelled = false;
    }
    return true;
  }

  void read_all() {
    std::string line;
    std::vector<char> chunk(65536);
    ssize_t count = 0;
    while ((count = read(STDIN_FILENO, chunk.data(), chunk.size())) > 0) {
      for (const char c : std::string_view(chunk.data(), static_cast<std::size_t>(count))) {
        if (c == '\n') {
          take(line);
          line.clear();
        } else if (line.size() <= kMaxLineBytes) {
          line += c;
        }
      }
    }
    const std::lock_guard lock(mutex_);
    ended_ = true;
    items_.clear();
    cancelled = true;
    ready_.notify_one();
  }

  std::atomic<bool> cancelled = false;

 private:
  void take(std::string_view line) {
    if (line.empty()) {
      return;
    }
    auto parsed = line.size() > kMaxLineBytes
                      ? std::variant<Request, BadRequest>(BadRequest{0, "line over 1 MiB"})
                      : parse_request(line);
    const std::lock_guard lock(mutex_);
    if (BadRequest* bad = std::get_if<BadRequest>(&parsed)) {
      items_.emplace_back(std::move(*bad));
    } else if (const Cancel* cancel = std::get_if<Cancel>(&std::get<Request>(parsed))) {
      if (cancel->id == current_) {
        cancelled = true;
      }
      std::erase_if(items_, [&](const auto& item) {
        const Job* job = std::get_if<Job>(&item);
        return job != nullptr && job->id == cancel->id;
      });
      return;
    } else if (items_.size() >= kMaxQueued) {
      items_.emplace_back(BadRequest{std::get<Job>(std::get<Request>(parsed)).id, "queue is full"});
    } else {
      items_.emplace_back(std::move(std::get<Job>(std::get<Request>(parsed))));
    }
    ready_.notify_one();
  }

  std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<std::variant<Job, BadRequest>> items_;
  std::uint64_t current_ = 0;
  bool ended_ = false;
};

bool send(const std::string& line) {
  return std::fwrite(line.data(), 1, line.size(), stdout) == line.size() &&
         std::fputc('\n', stdout) != EOF && std::fflush(stdout) == 0;
}

// After a fault nothing works in this process any more, and a GPU that is gone comes back to
// another one at best.
bool ends_the_worker(core::ErrorCode code, bool recorded) {
  return code == core::ErrorCode::kInternal || (code == core::ErrorCode::kUnavailable && !recorded);
}

int serve(Timer& timer) {
  if (!send(format_hello(timer))) {
    return 1;
  }
  Inbox inbox;
  std::thread reader([&inbox] { inbox.read_all(); });
  reader.detach();  // ends with the process: a blocking read cannot be interrupted
  const bool recorded = timer.kind() == "recorded";
  std::variant<Job, BadRequest> item;
  while (inbox.next(item)) {
    if (const BadRequest* bad = std::get_if<BadRequest>(&item)) {
      if (!send(format_bad_request(*bad))) {
        return 1;
      }
      continue;
    }
    const Job& job = std::get<Job>(item);
    const core::Result<core::Record> record = timer.measure(job, inbox.cancelled);
    if (!send(record ? format_record(job.id, *record, timer.take_plans())
                     : format_error(job.id, record.error(), recorded))) {
      return 1;
    }
    if (!record && ends_the_worker(record.error().code, recorded)) {
      _exit(kExitGpuFault);  // destructors would call into a dead context
    }
  }
  std::fflush(nullptr);
  _exit(0);
}

constexpr std::string_view kUsage =
    "usage: reformer-worker --recorded FILE [--recorded FILE...]\n"
    "       reformer-worker --gpu N [--library PATH]\n"
    "Measures convolution problems for reformerd: requests on stdin, replies on stdout, one JSON\n"
    "object a line. --recorded replays reformer-measurements/1 files; --gpu times on that GPU with "
    "the\n"
    "cuDNN library PATH (default: libcudnn.so.9).\n";

struct Options {
  std::vector<std::filesystem::path> recorded;
  std::string library;
  int gpu = -1;
};

bool parse(int argc, char** argv, Options& options) {
  for (int i = 1; i < argc; i += 2) {
    const std::string_view name = argv[i];
    if (i + 1 == argc) {
      return false;
    }
    const std::string value = argv[i + 1];
    if (name == "--recorded") {
      options.recorded.emplace_back(value);
    } else if (name == "--library") {
      options.library = value;
    } else if (name == "--gpu" && value.size() < 4 &&
               value.find_first_not_of("0123456789") == std::string::npos && !value.empty()) {
      options.gpu = std::stoi(value);
    } else {
      return false;
    }
  }
  return options.recorded.empty() == (options.gpu >= 0);
}

}  // namespace

// A replay competes with the applications for the processor and can wait. Timing on a GPU must not.
void be_modest() {
  sched_param none{};
  (void)::sched_setscheduler(0, SCHED_IDLE, &none);
}

int main(int argc, char** argv) try {
  if (argc == 2 && (std::strcmp(argv[1], "--help") == 0 || std::strcmp(argv[1], "-h") == 0)) {
    std::fputs(kUsage.data(), stdout);
    return 0;
  }
  Options options;
  if (!parse(argc, argv, options)) {
    std::fputs(kUsage.data(), stderr);
    return 2;
  }
  if (!options.recorded.empty()) {
    be_modest();
    RecordedTimer timer(options.recorded);
    return serve(timer);
  }
#ifdef REFORMER_HAVE_CUDNN
  reformer::cudnn::turn_compile_cache_off();
  auto timer = make_gpu_timer(options.library, options.gpu);
  if (!timer) {
    std::fprintf(stderr, "reformer-worker: %s\n", timer.error().message.c_str());
    return 1;
  }
  return serve(**timer);
#else
  std::fputs("reformer-worker: built without cuDNN: only --recorded works\n", stderr);
  return 1;
#endif
} catch (const std::exception& error) {
  std::fprintf(stderr, "reformer-worker: %s\n", error.what());
  return 1;
}
