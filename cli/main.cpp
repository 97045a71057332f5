#include "cli/offline_channel.h"
#include "cli/program.h"
#include "cli/socket_channel.h"

#include <unistd.h>

#include <csignal>
#include <iostream>

int main(int argc, char** argv) {
  using namespace reformer::cli;
  std::signal(SIGPIPE,
              SIG_IGN);  // `reformerctl list | head` ends by a failing write, not silently
  std::ios::sync_with_stdio(false);
  const Surroundings surroundings{
      .out = std::cout,
      .err = std::cerr,
      .out_is_terminal = ::isatty(STDOUT_FILENO) == 1,
      .err_is_terminal = ::isatty(STDERR_FILENO) == 1,
      .open_channel = [](const std::string& socket, const std::string& offline_dir) {
        return offline_dir.empty() ? open_socket_channel(socket)
                                   : open_offline_channel(offline_dir);
      }};
  return run_program(surroundings, std::vector<std::string>(argv + 1, argv + argc));
}
