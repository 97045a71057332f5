#pragma once

#include <map>
#include <string>
#include <vector>

namespace reformer::test {

struct ExampleLine {
  std::string problem;
  std::string config;
  double decision_us = 0;
  int choices = 0;
};
struct ExampleRun {
  int exit_code = -1;
  double seconds = 0;
  std::vector<ExampleLine> lines;
};

// Runs a command with `environment` added to this process's, and reads the JSON lines that it
// prints.
ExampleRun run_program(const std::string& command,
                       const std::map<std::string, std::string>& environment);

}  // namespace reformer::test
