// reformerd. docs/daemon.md draws the way of a request and names the threads.
#include "daemon/daemon.h"

#include <fmt/core.h>

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <vector>

namespace {

constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;

// journald reads "<4>" at the start of a line as its priority, and writes its own time.
void start_log(const std::string& level) {
  auto logger = spdlog::stderr_logger_mt("reformerd");
  const bool journal = std::getenv("JOURNAL_STREAM") != nullptr;
  logger->set_pattern(journal ? "%v" : "%Y-%m-%d %H:%M:%S.%e %l %v");
  logger->set_level(spdlog::level::from_str(level));
  logger->flush_on(spdlog::level::info);
  spdlog::set_default_logger(std::move(logger));
}

int run(const std::vector<std::string>& arguments) {
  auto line = reformer::daemon::read_command_line(arguments);
  if (!line) {
    fmt::print(stderr, "reformerd: {}\n", line.error().message);
    return kExitUsage;
  }
  if (!*line) {
    return 0;
  }
  if ((*line)->check_only) {
    fmt::print("{}: ok\n", (*line)->config_file.string());
    return 0;
  }
  start_log((*line)->config.log_level);
  reformer::daemon::Daemon daemon(std::move(**line));
  if (const auto started = daemon.start(); !started) {
    spdlog::critical("{}", started.error().message);
    return kExitFailed;
  }
  daemon.run();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run({argv + 1, argv + argc});
  } catch (const std::exception& error) {
    fmt::print(stderr, "reformerd: {}\n", error.what());
    return kExitFailed;
  }
}
