#pragma once

#include "cli/channel.h"

#include <functional>
#include <ostream>
#include <string>
#include <vector>

namespace reformer::cli {

// What the program needs from the world, so that tests can stand in for it.
struct Surroundings {
  std::ostream& out;
  std::ostream& err;
  bool out_is_terminal = false;
  bool err_is_terminal = false;
  // Makes the channel that the options ask for: a socket path, or a state directory with --offline.
  std::function<core::Result<std::unique_ptr<AdminChannel>>(const std::string& socket,
                                                            const std::string& offline_dir)>
      open_channel;
};

// All of reformerctl: parses the arguments (without the program's name), does the work, returns the
// exit code. Only `run` does not return when it succeeds.
[[nodiscard]] int run_program(const Surroundings& surroundings, std::vector<std::string> arguments);

}  // namespace reformer::cli
