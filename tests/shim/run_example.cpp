#include "tests/shim/run_example.h"

#include <sys/wait.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>

namespace reformer::test {

ExampleRun run_program(const std::string& command,
                       const std::map<std::string, std::string>& environment) {
  std::string line = "env";
  for (const auto& [name, value] : environment) {
    line += " '" + name + "=" + value + "'";
  }
  line += " " + command;
  ExampleRun run;
  const auto started = std::chrono::steady_clock::now();
  FILE* pipe = ::popen(line.c_str(), "r");
  if (pipe == nullptr) {
    return run;
  }
  std::string text;
  std::array<char, 4096> buffer{};
  while (std::fgets(buffer.data(), buffer.size(), pipe) != nullptr) {
    text += buffer.data();
    if (text.back() != '\n') {
      continue;
    }
    const auto json = nlohmann::json::parse(text, nullptr, false);
    text.clear();
    if (json.is_object()) {
      run.lines.push_back({json.value("problem", ""),
                           json.value("config", ""),
                           json.value("decision_us", 0.0),
                           json.value("choices", 0)});
    }
  }
  const int status = ::pclose(pipe);
  run.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  run.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  return run;
}

}  // namespace reformer::test
