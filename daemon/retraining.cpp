#include "daemon/retraining.h"

#include <fmt/core.h>

#include <spdlog/spdlog.h>

#include <array>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <utility>

namespace reformer::daemon {
namespace {

std::string find_trainer(const Config& config) {
  if (!config.trainer.empty()) {
    return config.trainer.string();
  }
  std::error_code error;
  return (std::filesystem::read_symlink("/proc/self/exe", error).parent_path() / "reformerctl")
      .string();
}

// "host-20261124-2130", UTC.
std::string model_name(std::int64_t now_s) {
  const auto time = static_cast<std::time_t>(now_s);
  std::tm parts{};
  std::array<char, 32> text{};
  gmtime_r(&time, &parts);
  (void)std::strftime(text.data(), text.size(), "host-%Y%m%d-%H%M%S", &parts);
  return text.data();
}

}  // namespace

std::string Retraining::State::to_text() const {
  return fmt::format("{} {}", started_s, records);
}

Retraining::State Retraining::State::from_text(const std::string& text) {
  long long started = 0;
  unsigned long long records = 0;
  if (std::sscanf(text.c_str(), "%lld %llu", &started, &records) != 2) {
    return {};
  }
  return {started, records};
}

Retraining::Retraining(uv_loop_s* loop, State state, OnState on_state)
    : loop_(loop), state_(state), on_state_(std::move(on_state)) {}

void Retraining::tick(const Config& config,
                      std::int64_t now_s,
                      std::uint64_t records,
                      const std::optional<core::Context>& context) {
  if (process_) {
    const auto most = static_cast<std::int64_t>(config.retrain_max_minutes * 60);
    if (now_s - state_.started_s > most) {
      process_->kill("it took longer than retrain_max_minutes");
    }
    return;
  }
  const double hours = static_cast<double>(now_s - state_.started_s) / 3600;
  const bool due = config.retrain_hours > 0 && hours >= config.retrain_hours && context &&
                   records >= state_.records + static_cast<std::uint64_t>(config.retrain_problems);
  if (due) {
    state_ = {now_s, records};
    on_state_(state_);
    start(config, *context);
  }
}

void Retraining::start(const Config& config, const core::Context& context) {
  const std::string name = model_name(state_.started_s);
  WorkerProcess::Command command{
      .program = find_trainer(config), .arguments = {}, .ends_by_itself = true};
  command.arguments = {"--socket",
                       config.socket.string(),
                       "--json",
                       "train",
                       "--from-daemon",
                       "--background",
                       "--max-memory",
                       std::to_string(config.retrain_max_memory_bytes),
                       "--threads",
                       "1",
                       "--device",
                       core::format_device(context.device),
                       "--cudnn",
                       std::to_string(context.cudnn_version),
                       "--name",
                       name,
                       "--out",
                       (config.state_dir / "training.reformer").string()};
  for (const auto& file : config.retrain_data) {
    command.arguments.insert(command.arguments.end(), {"--data", file.string()});
  }
  if (config.retrain_epochs > 0) {
    command.arguments.insert(command.arguments.end(),
                             {"--epochs", std::to_string(config.retrain_epochs)});
  }
  auto process =
      WorkerProcess::start(loop_,
                           command,
                           {[](std::string_view) {},  // its report; what matters comes as add_model
                            [this, name](const std::string& why) {
                              process_.reset();
                              const bool done = why == "ended with status 0";
                              last_result_ = done ? name : why;
                              if (done) {
                                spdlog::info("training of \"{}\" is done", name);
                              } else {
                                spdlog::warn("training of \"{}\": {}", name, why);
                              }
                            }});
  if (!process) {
    last_result_ = process.error().message;
    spdlog::warn("training: {}", last_result_);
    return;
  }
  process_ = std::move(*process);
  spdlog::info("training \"{}\" on {} measured problems", name, state_.records);
}

void Retraining::stop() {
  process_.reset();
}

}  // namespace reformer::daemon
