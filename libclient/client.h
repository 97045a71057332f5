#pragma once

#include "core/decision.h"
#include "core/key.h"
#include "core/result.h"
#include "libclient/concurrent_map.h"
#include "libclient/daemon_link.h"
#include "libclient/table_file.h"

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace reformer::client {

struct Options {
  std::string socket_path;                // empty: $REFORMER_SOCKET, else /run/reformerd/socket
  std::chrono::microseconds deadline{0};  // 0: $REFORMER_DEADLINE_US, else 3 ms
  std::string name = "libreformer 0.1.0";
  std::optional<std::string> freeze_file;  // absent: $REFORMER_FREEZE; empty: none
  bool verify_misses = true;               // whether questions leave work behind in the daemon
};

// The answer to one problem, constant for the life of the client.
struct Answer {
  core::KeyHash key;  // of context and canonical problem, without constraints
  core::Decision decision;
  // Why `decision` is an abstention, if the daemon could not be asked.
  std::optional<core::Error> failure;
};

// Executions of one configuration of one problem, counted until the next report.
class UseCounter {
 public:
  UseCounter(std::size_t context, const core::KeyHash& key, const core::EngineConfig& config)
      : context_(context), key_(key), config_(config) {}

  void add(std::uint32_t count) { count_.fetch_add(count, std::memory_order_relaxed); }
  // One GPU time seen in the application; those that are not finite and above zero are dropped.
  void add_time(float gpu_us);

 private:
  friend class Client;
  static constexpr std::size_t kTimes = 8;
  [[nodiscard]] float take_median();

  const std::size_t context_;
  const core::KeyHash key_;
  const core::EngineConfig config_;
  std::atomic<std::uint32_t> count_{0};
  std::atomic<std::uint32_t> times_seen_{0};
  std::array<std::atomic<float>, kTimes> times_{};
};

struct Statistics {
  std::atomic<std::uint64_t> process_hits{0};
  std::atomic<std::uint64_t> shared_hits{0};
  std::atomic<std::uint64_t> socket_hits{0};
  std::atomic<std::uint64_t> frozen_hits{0};
  std::atomic<std::uint64_t> abstentions{0};
  std::atomic<std::uint64_t> failures{0};
};

// Looks problems up: in this process's table, the snapshot, the daemon's shared table, and over the
// socket. The first answer to a problem, a failure included, is its answer for good.
//
// Threads: any. A repeated question takes no lock and allocates nothing. No lock is held for longer
// than the deadline. Fork: a child keeps its parent's answers and makes its own connection.
// Errors: never throws but for lack of memory.
class Client {
 public:
  // Does no I/O but reading the snapshot. Errors: those of Snapshot::open.
  static core::Result<std::unique_ptr<Client>> create(Options options);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // The number of a context; equal contexts have the same. Errors: kExhausted past kMaxContexts.
  core::Result<std::size_t> add_context(ContextInfo info);

  // The answer; it lives as long as the client. Errors: kInvalidArgument (unknown context, or not a
  // problem), kExhausted (more than kMaxAnswers problems).
  core::Result<const Answer*> query(std::size_t context,
                                    const core::Problem& problem,
                                    const core::Constraints& constraints = {});
  // The same for many, with one request to the daemon for those that are not known.
  core::Status query_batch(std::size_t context,
                           std::span<const core::Problem> problems,
                           const core::Constraints& constraints,
                           std::span<const Answer*> answers);

  // Where to count executions; lives as long as the client. Null when out of bounds.
  UseCounter* use_counter(std::size_t context,
                          const core::KeyHash& key,
                          const core::EngineConfig& config);
  // For the next report: decisions left to cuDNN, and surprises.
  void note_passed_through() { passed_through_.fetch_add(1, std::memory_order_relaxed); }
  void note_failure(std::string_view what) noexcept;

  // Sends what was counted if `interval` has passed since the last time. Never waits for a daemon
  // that does not answer beyond the link's bounds, and never for another thread.
  void flush_if_due(std::chrono::milliseconds interval);

  // The same at the end of a process: only over a connection that this process has, without
  // waiting.
  void flush_at_exit() noexcept;

  [[nodiscard]] const Statistics& statistics() const { return statistics_; }
  [[nodiscard]] const std::string& socket_path() const { return options_.socket_path; }
  // Of the snapshot; empty where there is none.
  [[nodiscard]] const std::string& freeze_file() const { return *options_.freeze_file; }

  static constexpr std::size_t kMaxAnswers = std::size_t{1} << 17;

 private:
  // What must not be shared with a parent or a child of a fork.
  struct Process;

  explicit Client(Options options);
  Process& process();
  [[nodiscard]] core::KeyHash daemon_key(std::size_t context, const core::Problem& problem) const;
  std::optional<core::Decision> look_in_tables(Process& process,
                                               const core::KeyHash& key,
                                               const core::Constraints& constraints);
  // `keys`: the daemon's, of the problems, which are canonical.
  core::Status resolve(std::size_t context,
                       std::span<const core::Problem> problems,
                       std::span<const core::KeyHash> keys,
                       const core::Constraints& constraints,
                       std::span<const Answer*> answers);
  const Answer* keep(Process& process, const core::KeyHash& variant, Answer answer);
  void mention_unanswered(Process& process);
  void send_reports(Process& process);

  Options options_;
  std::unique_ptr<const Snapshot> snapshot_;
  std::array<std::atomic<const ContextInfo*>, kMaxContexts> contexts_{};
  ConcurrentMap<Answer> answers_;       // written under Process::tables
  ConcurrentMap<UseCounter> counters_;  // written under Process::tables
  Statistics statistics_;
  std::atomic<std::uint64_t> passed_through_{0};
  std::atomic<std::uint64_t> surprises_{0};
  std::atomic<std::int64_t> flushed_at_ms_{0};
  std::atomic<Process*> process_{nullptr};
};

}  // namespace reformer::client
