#pragma once

#include "core/decision.h"
#include "core/result.h"

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace reformer::daemon {

// Every setting of reformerd with its default. systemd/reformerd.toml documents each; every one is
// also a command line option of the same name with dashes ("max_clients" -> --max-clients).
struct Config {
  std::filesystem::path socket = "/run/reformerd/socket";
  std::filesystem::path state_dir = "/var/lib/reformerd";
  std::filesystem::path plan_dir;           // of compiled plans; empty: plan_directory()
  std::int64_t max_plan_bytes = 256 << 20;  // 0: none are kept
  std::vector<std::filesystem::path> models;
  std::filesystem::path
      device_prop;  // cuDNN device properties: the context where a client has none
  std::int64_t cudnn_version = 91900;  // that goes with device_prop
  std::string log_level = "info";
  std::string admin_group = "reformerd";

  // Serving.
  std::int64_t max_clients = 16384;
  std::int64_t max_user_clients = 12288;     // of one uid
  std::int64_t max_client_bytes = 4 << 20;   // that one client may leave unread
  std::int64_t max_total_bytes = 256 << 20;  // that all clients may leave unread
  std::int64_t max_entries = 16;             // configurations in a published answer
  std::int64_t max_engines = 8;              // distinct engines among them
  std::int64_t awake_after_miss_us = 5000;   // not sleeping: misses come in bursts
  core::BuildPolicy build_policy;

  // Verification.
  std::vector<std::string> timers;  // "recorded:FILE", "gpu" or "none"; empty: gpu if there is one
  std::filesystem::path worker;     // empty: beside reformerd, else in ../libexec/reformer
  std::vector<std::string> allowed_libraries;  // loaded for any uid
  std::int64_t queue_bound = 10000;
  std::int64_t verify_after_ms = 500;  // without new misses, before the worker is given work
  std::int64_t max_problem_time_ms = 2000;
  std::int64_t worker_timeout_ms = 30000;  // without a reply: hung
  std::int64_t worker_idle_ms = 30000;     // without work: ended
  std::int64_t max_memory_bytes = std::int64_t{4} << 30;
  double max_gpu_share = 0.25;
  bool only_when_idle = true;
  bool explore = false;       // also the knob space of each problem's best engines
  std::string quiet_hours;    // "22:00-06:00" local time: no verification; empty: none
  double random_share = 0.1;  // of the verified problems are drawn at random

  // The accuracy log and what follows from it.
  std::int64_t accuracy_days = 90;
  std::int64_t accuracy_rows = 1000000;
  bool auto_promote = false;
  std::int64_t promote_min_problems = 200;
  double promote_confidence = 0.95;
  double drift_slowdown = 1.10;     // alarm: recent champion slowdown over its long-run one
  std::int64_t drift_window = 100;  // recent problems

  // Training on this host's measurements.
  double retrain_hours = 0;                         // between two trainings; 0: never
  std::int64_t retrain_problems = 500;              // measured since the last one
  std::vector<std::filesystem::path> retrain_data;  // measurement files to learn from as well
  std::int64_t retrain_epochs = 0;                  // 0: the preset's
  std::int64_t retrain_max_memory_bytes = std::int64_t{2} << 30;
  double retrain_max_minutes = 120;
  std::int64_t retrain_keep = 3;  // models from trainings that stay loaded
  std::filesystem::path trainer;  // empty: reformerctl beside reformerd
};

// What the command line adds to the settings.
struct CommandLine {
  Config config;
  std::filesystem::path config_file;
  bool check_only = false;
  // Where to start again from at a reload.
  std::vector<std::string> arguments;
};

// Where compiled plans are kept: plan_dir, else "plans" in $CACHE_DIRECTORY (systemd's), else in
// state_dir.
[[nodiscard]] std::filesystem::path plan_directory(const Config& config);

// Overlays a TOML text on `config`. Hostile input gives an error with file and line; unknown
// settings are errors, so that a typing mistake does not go unnoticed. Errors: kInvalidArgument.
[[nodiscard]] core::Status apply_toml(std::string_view text, std::string_view file, Config& config);

// Defaults, then the file (which must exist only if named), then the options.
// The result is empty where `--help` or `--version` was answered on standard output.
// Errors: kInvalidArgument.
[[nodiscard]] core::Lookup<CommandLine> read_command_line(
    const std::vector<std::string>& arguments);

// Ranges and contradictions. Errors: kInvalidArgument, naming the setting.
[[nodiscard]] core::Status check(const Config& config);

// Names of settings that differ: those that need a restart, and those that a reload changes.
[[nodiscard]] std::vector<std::string> restart_needed(const Config& from, const Config& to);
[[nodiscard]] std::vector<std::string> reloadable_changes(const Config& from, const Config& to);
// `fresh` as a daemon that started with `running` can use it: what needs a restart stays.
[[nodiscard]] Config reloaded(const Config& running, Config fresh);

// Whether `minutes` after local midnight lies in "HH:MM-HH:MM" (which may pass midnight).
[[nodiscard]] core::Result<bool> in_quiet_hours(std::string_view hours, int minutes);

}  // namespace reformer::daemon
