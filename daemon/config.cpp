#include "daemon/config.h"

#include <fmt/core.h>

#include <toml++/toml.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <iostream>
#include <iterator>
#include <limits>
#include <type_traits>
#include <variant>

namespace reformer::daemon {
namespace {

constexpr std::string_view kDefaultFile = "/etc/reformerd/reformerd.toml";

using Member = std::variant<std::filesystem::path*,
                            std::string*,
                            std::vector<std::filesystem::path>*,
                            std::vector<std::string>*,
                            std::int64_t*,
                            double*,
                            float*,
                            bool*>;

struct Setting {
  const char* name;
  Member member;
  const char* help;
  bool reloadable = false;
  double low = 0;
  double high = 1e15;
};

// The one list that the file, the command line, the checks and the reload share.
std::vector<Setting> settings(Config& c) {
  constexpr bool kReload = true;
  return {
      {"socket", &c.socket, "Unix socket to serve"},
      {"state_dir", &c.state_dir, "Folder of the database"},
      {"plan_dir", &c.plan_dir, "Folder of compiled plans"},
      {"max_plan_bytes", &c.max_plan_bytes, "Size of that folder; 0: keep none"},
      {"model", &c.models, "Model file; repeatable", kReload},
      {"device_prop", &c.device_prop, "cuDNN device properties of the default device"},
      {"cudnn_version", &c.cudnn_version, "cuDNN version of the default context"},
      {"log_level", &c.log_level, "trace, debug, info, warn, error", kReload},
      {"admin_group", &c.admin_group, "Group whose members may change things", kReload},
      {"max_clients", &c.max_clients, "Connections at once", kReload, 1, 1e6},
      {"max_user_clients", &c.max_user_clients, "Connections of one user", kReload, 1, 1e6},
      {"max_client_bytes", &c.max_client_bytes, "Unread bytes of one client", kReload, 65536},
      {"max_total_bytes", &c.max_total_bytes, "Unread bytes of all clients", kReload, 65536},
      {"max_entries", &c.max_entries, "Configurations in a published answer", false, 1, 16},
      {"max_engines", &c.max_engines, "Distinct engines among them", false, 1, 16},
      {"expected_uses", &c.build_policy.expected_uses, "Executions of one plan", false, 1},
      {"cheap_build_us", &c.build_policy.cheap_build_us, "Never questioned building time"},
      {"awake_after_miss_us",
       &c.awake_after_miss_us,
       "Time that the daemon looks for the next query without sleeping",
       kReload,
       0,
       100000},
      {"timer", &c.timers, "recorded:FILE (repeatable), gpu or none"},
      {"worker", &c.worker, "Path of reformer-worker"},
      {"allowed_library",
       &c.allowed_libraries,
       "cuDNN library that any uid may have measured",
       kReload},
      {"queue_bound", &c.queue_bound, "Waiting verifications", kReload, 1, 1e7},
      {"verify_after_ms",
       &c.verify_after_ms,
       "Quiet time after the last miss before measuring starts",
       kReload,
       0,
       30000},
      {"max_problem_time_ms", &c.max_problem_time_ms, "GPU time of one problem", kReload, 1},
      {"worker_timeout_ms",
       &c.worker_timeout_ms,
       "A worker silent for so long is hung",
       kReload,
       10},
      {"worker_idle_ms", &c.worker_idle_ms, "A worker idle for so long is ended", kReload, 10},
      {"max_memory_bytes", &c.max_memory_bytes, "GPU memory of a measurement", kReload},
      {"max_gpu_share", &c.max_gpu_share, "Share of time spent measuring", kReload, 0.001, 1},
      {"only_when_idle", &c.only_when_idle, "Measure only while the GPU is idle", kReload},
      {"explore", &c.explore, "Measure more than cuDNN lists: the best engines' knobs", kReload},
      {"quiet_hours", &c.quiet_hours, "HH:MM-HH:MM without verification", kReload},
      {"random_share",
       &c.random_share,
       "Share of verified problems drawn at random",
       kReload,
       0,
       1},
      {"accuracy_days", &c.accuracy_days, "Age limit of the accuracy log", kReload, 1, 36500},
      {"accuracy_rows", &c.accuracy_rows, "Size limit of the accuracy log", kReload, 1},
      {"auto_promote", &c.auto_promote, "Promote a better challenger by rule", kReload},
      {"promote_min_problems", &c.promote_min_problems, "Problems that the rule wants", kReload, 2},
      {"promote_confidence", &c.promote_confidence, "Confidence that it wants", kReload, 0.5, 1},
      {"drift_slowdown", &c.drift_slowdown, "Alarm when recent slowdown grew by this", kReload, 1},
      {"drift_window", &c.drift_window, "Recent problems looked at", kReload, 10, 1e6},
      {"retrain_hours", &c.retrain_hours, "Hours between trainings; 0: never", kReload, 0, 1e5},
      {"retrain_problems", &c.retrain_problems, "New measurements before one", kReload, 1, 1e9},
      {"retrain_data", &c.retrain_data, "Measurement file to learn from as well", kReload},
      {"retrain_epochs", &c.retrain_epochs, "Passes over the data; 0: as train", kReload, 0, 1e5},
      {"retrain_max_memory_bytes",
       &c.retrain_max_memory_bytes,
       "Memory of a training",
       kReload,
       1 << 28},
      {"retrain_max_minutes", &c.retrain_max_minutes, "Then it is killed", kReload, 0.01, 1e5},
      {"retrain_keep", &c.retrain_keep, "Models from trainings that stay", kReload, 1, 100},
      {"trainer", &c.trainer, "Path of reformerctl, which trains", kReload},
  };
}

core::Error invalid(std::string message) {
  return core::make_error(core::ErrorCode::kInvalidArgument, std::move(message));
}

template <typename T>
bool assign(const toml::node& node, T& target) {
  if constexpr (std::is_same_v<T, bool>) {
    const auto value = node.value_exact<bool>();
    return value ? (target = *value, true) : false;
  } else if constexpr (std::is_same_v<T, std::int64_t>) {
    const auto value = node.value_exact<std::int64_t>();
    return value ? (target = *value, true) : false;
  } else if constexpr (std::is_floating_point_v<T>) {
    if (!node.is_number()) {
      return false;
    }
    target = static_cast<T>(*node.value<double>());
    return std::isfinite(target);
  } else if constexpr (std::is_same_v<T, std::string> || std::is_same_v<T, std::filesystem::path>) {
    const auto value = node.value_exact<std::string>();
    if (!value || value->find('\0') != std::string::npos) {
      return false;
    }
    target = *value;
    return true;
  } else {
    T list;
    typename T::value_type item;
    if (const auto* array = node.as_array()) {
      for (const toml::node& element : *array) {
        if (!assign(element, item)) {
          return false;
        }
        list.push_back(item);
      }
    } else if (assign(node, item)) {
      list.push_back(item);
    } else {
      return false;
    }
    target = std::move(list);
    return true;
  }
}

std::string dashed(std::string name) {
  std::replace(name.begin(), name.end(), '_', '-');
  return "--" + name;
}

core::Result<std::string> read_whole(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    return core::make_error(core::ErrorCode::kInvalidArgument, path.string() + ": cannot be read");
  }
  std::string text{std::istreambuf_iterator<char>(file), {}};
  return text;
}

bool is_time(std::string_view t) {
  return t.size() == 5 && t[2] == ':' &&
         std::all_of(t.begin(), t.end(), [](char c) { return c == ':' || (c >= '0' && c <= '9'); });
}
int minutes_of(std::string_view t) {
  return ((t[0] - '0') * 10 + t[1] - '0') * 60 + (t[3] - '0') * 10 + t[4] - '0';
}

}  // namespace

std::filesystem::path plan_directory(const Config& config) {
  if (!config.plan_dir.empty()) {
    return config.plan_dir;
  }
  const char* cache = std::getenv("CACHE_DIRECTORY");
  const bool usable = cache != nullptr && cache[0] == '/' && std::strchr(cache, ':') == nullptr;
  return (usable ? std::filesystem::path(cache) : config.state_dir) / "plans";
}

core::Status apply_toml(std::string_view text, std::string_view file, Config& config) try {
  const toml::table table = toml::parse(text, file);
  auto known = settings(config);
  for (const auto& entry : table) {
    const toml::key& key = entry.first;  // no structured binding: clang 14 cannot capture one
    const toml::node& node = entry.second;
    const auto where = fmt::format("{}:{}", file, node.source().begin.line);
    const auto found = std::find_if(known.begin(), known.end(), [&](const Setting& setting) {
      return key.str() == setting.name;
    });
    if (found == known.end()) {
      return invalid(fmt::format("{}: unknown setting \"{}\"", where, std::string_view(key.str())));
    }
    if (!std::visit([&](auto* target) { return assign(node, *target); }, found->member)) {
      return invalid(fmt::format("{}: \"{}\" has a value of the wrong kind", where, found->name));
    }
  }
  return core::ok_status();
} catch (const toml::parse_error& error) {
  return invalid(fmt::format("{}:{}: {}", file, error.source().begin.line, error.description()));
}

core::Lookup<CommandLine> read_command_line(const std::vector<std::string>& arguments) {
  CommandLine line;
  line.arguments = arguments;
  CLI::App app("reformerd: answers which cuDNN convolution kernel is fastest", "reformerd");
  app.set_version_flag("--version", "reformerd 0.1.0");
  bool foreground = false;
  app.add_option(
      "--config", line.config_file, fmt::format("Configuration file [{}]", kDefaultFile));
  app.add_flag("--check-config", line.check_only, "Check the configuration and exit");
  app.add_flag("--foreground", foreground, "Accepted; reformerd never detaches");
  Config given;
  auto options = settings(given);
  std::vector<CLI::Option*> handles;
  handles.reserve(options.size());
  for (const Setting& setting : options) {
    handles.push_back(std::visit(
        [&](auto* target) { return app.add_option(dashed(setting.name), *target, setting.help); },
        setting.member));
  }
  try {
    std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
    app.parse(reversed);
  } catch (const CLI::Success& answered) {
    app.exit(answered, std::cout, std::cerr);
    return std::optional<CommandLine>{};
  } catch (const CLI::ParseError& error) {
    return invalid(error.what());
  }
  const bool named = !line.config_file.empty();
  if (!named) {
    line.config_file = kDefaultFile;
  }
  std::error_code ignored;
  if (named || std::filesystem::exists(line.config_file, ignored)) {
    const auto text = read_whole(line.config_file);
    if (!text) {
      return text.error();
    }
    const auto applied = apply_toml(*text, line.config_file.string(), line.config);
    if (!applied) {
      return applied.error();
    }
  }
  auto targets = settings(line.config);
  for (std::size_t i = 0; i < options.size(); ++i) {
    if (handles[i]->count() > 0) {
      std::visit([&](auto* target) { *target = *std::get<decltype(target)>(options[i].member); },
                 targets[i].member);
    }
  }
  const auto checked = check(line.config);
  if (!checked) {
    return checked.error();
  }
  return std::optional(std::move(line));
}

core::Status check(const Config& config) {
  Config copy = config;
  for (const Setting& setting : settings(copy)) {
    const bool in_range = std::visit(
        [&](auto* value) {
          if constexpr (std::is_arithmetic_v<std::remove_pointer_t<decltype(value)>>) {
            const auto number = static_cast<double>(*value);
            return number >= setting.low && number <= setting.high;
          }
          return true;
        },
        setting.member);
    if (!in_range) {
      return invalid(
          fmt::format("{}: out of range {:g} to {:g}", setting.name, setting.low, setting.high));
    }
  }
  constexpr std::array kLevels{"trace", "debug", "info", "warn", "error"};
  if (std::find(kLevels.begin(), kLevels.end(), config.log_level) == kLevels.end()) {
    return invalid("log_level: trace, debug, info, warn or error, not \"" + config.log_level +
                   "\"");
  }
  if (config.socket.string().size() > 100 || config.socket.empty()) {
    return invalid("socket: a path of 1 to 100 bytes");
  }
  for (const std::string& timer : config.timers) {
    const bool alone = timer == "gpu" || timer == "none";
    if ((!alone && !timer.starts_with("recorded:")) || (alone && config.timers.size() > 1)) {
      return invalid("timer: recorded:FILE (repeatable), gpu or none, not \"" + timer + "\"");
    }
  }
  const auto quiet = in_quiet_hours(config.quiet_hours, 0);
  return quiet ? core::ok_status() : core::Status(quiet.error());
}

namespace {

std::vector<std::string> differing(Config a, Config b, bool reloadable) {
  std::vector<std::string> names;
  const auto old_settings = settings(a);
  const auto new_settings = settings(b);
  for (std::size_t i = 0; i < old_settings.size(); ++i) {
    const bool same = std::visit(
        [&](auto* value) { return *value == *std::get<decltype(value)>(new_settings[i].member); },
        old_settings[i].member);
    if (!same && old_settings[i].reloadable == reloadable) {
      names.emplace_back(old_settings[i].name);
    }
  }
  return names;
}

}  // namespace

std::vector<std::string> restart_needed(const Config& from, const Config& to) {
  return differing(from, to, false);
}
std::vector<std::string> reloadable_changes(const Config& from, const Config& to) {
  return differing(from, to, true);
}

Config reloaded(const Config& running, Config fresh) {
  Config fixed = running;
  const auto kept = settings(fixed);
  const auto settings_now = settings(fresh);
  for (std::size_t i = 0; i < kept.size(); ++i) {
    if (!kept[i].reloadable) {
      std::visit([&](auto* value) { *value = *std::get<decltype(value)>(kept[i].member); },
                 settings_now[i].member);
    }
  }
  return fresh;
}

core::Result<bool> in_quiet_hours(std::string_view hours, int minutes) {
  if (hours.empty()) {
    return false;
  }
  if (hours.size() != 11 || hours[5] != '-' || !is_time(hours.substr(0, 5)) ||
      !is_time(hours.substr(6))) {
    return invalid("quiet_hours: HH:MM-HH:MM, not \"" + std::string(hours) + "\"");
  }
  const int from = minutes_of(hours.substr(0, 5));
  const int to = minutes_of(hours.substr(6));
  return from <= to ? minutes >= from && minutes < to : minutes >= from || minutes < to;
}

}  // namespace reformer::daemon
