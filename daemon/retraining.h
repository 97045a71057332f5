#pragma once

#include "core/key.h"
#include "daemon/config.h"
#include "daemon/worker_process.h"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace reformer::daemon {

// The background schedule of trainings: `reformerctl train --from-daemon --background` as a child
// process, one at a time, killed when it takes too long. What it makes arrives as an `add_model`
// request like any other. Threads: the loop.
class Retraining {
 public:
  // When the last one began, and how many problems were measured then; kept in the database.
  struct State {
    std::int64_t started_s = 0;
    std::uint64_t records = 0;
    [[nodiscard]] std::string to_text() const;
    static State from_text(const std::string& text);  // zeros where it makes no sense
  };
  using OnState = std::function<void(const State&)>;

  Retraining(uv_loop_s* loop, State state, OnState on_state);

  // Starts or kills what is due. `records`: measured problems now. `context`: what to train for.
  void tick(const Config& config,
            std::int64_t now_s,
            std::uint64_t records,
            const std::optional<core::Context>& context);
  void stop();
  [[nodiscard]] bool running() const { return process_ != nullptr; }
  [[nodiscard]] const State& state() const { return state_; }
  [[nodiscard]] const std::string& last_result() const { return last_result_; }

 private:
  void start(const Config& config, const core::Context& context);

  uv_loop_s* loop_;
  State state_;
  OnState on_state_;
  std::unique_ptr<WorkerProcess> process_;
  std::string last_result_;  // empty: none since the start
};

}  // namespace reformer::daemon
