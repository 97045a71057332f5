#pragma once

#include "core/plan_file.h"
#include "core/record.h"
#include "daemon/config.h"
#include "daemon/verification_queue.h"
#include "daemon/worker_process.h"

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace reformer::daemon {

// Runs the workers: one for each GPU, library and user, started when there is work for it, ended
// after idling, killed when it hangs or lies, started again with exponential back-off. Feeds them
// from the queue within the budgets. Threads: the loop.
class Supervisor {
 public:
  using Clock = std::function<std::chrono::steady_clock::time_point()>;
  struct Events {
    // A record for exactly the key that was asked for. The job stays in the queue, running, until
    // the owner has stored the record and calls finish() on the queue.
    std::function<void(core::Record record, const VerificationQueue::Pick& pick)> on_record;
    // Before it: plans of that problem which its worker compiled, if any.
    std::function<void(std::vector<core::StoredPlan> plans)> on_plans;
    // There will be no record from this attempt.
    std::function<void(const core::KeyHash& hash, const std::string& why)> on_failure;
    // Configurations to time beside those that cuDNN lists.
    std::function<std::vector<core::EngineConfig>(const core::Key& key)> choices;
  };
  // `queue` and `loop` must outlive it.
  Supervisor(
      uv_loop_s* loop, VerificationQueue& queue, const Config& config, Events events, Clock clock);
  ~Supervisor();
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;

  void configure(const Config& config);
  // Starts, feeds, ends and kills what is due. Call often (the daemon: every 50 ms and after each
  // miss); cheap when there is nothing to do.
  void tick();
  // A client has just missed, and may miss more: no measuring until it has been quiet for
  // verify_after_ms, or for kLongestHold at most, so that measuring does not slow its start. With
  // only_when_idle what runs on a GPU gives way.
  void hold();
  void release() { hold_until_ = look_again_ = {}; }  // somebody waits for a measurement
  // No measurement begins while what is measured cannot be stored.
  void set_can_store(bool can_store) {
    can_store_ = can_store;
    look_again_ = {};
  }
  [[nodiscard]] bool can_store() const { return can_store_; }
  // No more work; running measurements go back to the queue; workers are killed.
  void stop();
  [[nodiscard]] bool can_measure() const;  // whether there is a timer at all
  [[nodiscard]] bool has_gpu() const { return gpu_ && recorded_.empty(); }  // not a replay
  // Whether a GPU of that ordinal (-1: any) can be there. Without device files: the first.
  [[nodiscard]] bool may_have_gpu(int gpu) const;
  [[nodiscard]] nlohmann::json describe() const;  // `workers` of the status request

 private:
  struct Worker;
  [[nodiscard]] bool paused() const;
  // Which worker measures a job. `library` points into the job or is empty: the daemon's own.
  struct Place {
    std::string_view library;
    int gpu = 0;
    std::uint32_t uid = 0;
    bool trusted = false;  // as long as only root can change it
  };
  [[nodiscard]] Place place_of(const storage::QueuedJob& job) const;
  [[nodiscard]] Worker* find(const Place& place) const;
  [[nodiscard]] Worker* worker_for(const Place& place);  // null: there are enough
  [[nodiscard]] bool may_start() const;
  [[nodiscard]] Worker* least_needed() const;
  [[nodiscard]] bool gpu_is_free(int gpu) const;
  void end_idle(Worker& worker);
  void hand_out();
  [[nodiscard]] std::chrono::steady_clock::time_point next_look() const;
  [[nodiscard]] bool may_load(const Worker& worker);
  void start(Worker& worker);
  void feed(Worker& worker);
  void on_line(Worker& worker, std::string_view line);
  void on_reply(Worker& worker, const nlohmann::json& reply);
  void on_exit(Worker& worker, const std::string& why);
  void on_error(Worker& worker, const std::string& error, const std::string& why);
  void on_gone(Worker& worker, const core::KeyHash& hash, const std::string& why);
  void end(Worker& worker, const std::string& why);
  void blame(Worker& worker, const std::string& why);
  void drop_job(Worker& worker, const std::string& why);
  void end_job(Worker& worker);
  void give_way(Worker& worker);
  // Whether the job's worker is free or may be started, and its GPU is free.
  [[nodiscard]] bool may_measure(const storage::QueuedJob& job) const;

  uv_loop_s* loop_;
  VerificationQueue& queue_;
  Config config_;
  Events events_;
  Clock clock_;
  std::string program_;
  std::vector<std::string> recorded_;
  std::set<std::string, std::less<>> refused_;  // libraries that are not root's alone any more
  bool gpu_ = false;
  bool stopped_ = false;
  bool can_store_ = true;
  std::chrono::steady_clock::time_point held_since_{};
  std::chrono::steady_clock::time_point hold_until_{};
  std::chrono::steady_clock::time_point start_after_{};  // a while after a start that failed
  // The queue has nothing for any free worker: until then, or until its arrivals() differ.
  std::chrono::steady_clock::time_point look_again_{};
  std::uint64_t seen_arrivals_ = 0;
  int gpus_ = 0;  // device files
  std::uint64_t next_id_ = 1;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::map<int, std::chrono::steady_clock::time_point> rest_until_;  // of each GPU
};

}  // namespace reformer::daemon
