#pragma once

#include "cli/channel.h"
#include "cli/exit_code.h"

#include <CLI/CLI.hpp>
#include <ostream>
#include <string>
#include <vector>

// reformerctl's skeleton. A subcommand is one file with one function `add_NAME(CLI::App&,
// Session&)` that declares its options and, as its callback, does the work and sets
// session.exit_code. To add one: write cli/NAME.cpp, declare the function in commands.h, call it in
// program.cpp, and name it in cli/completions/ and docs/man/reformerctl.1 (a test looks).
namespace reformer::cli {

// What every subcommand shares. Outlives the App.
struct Session {
  bool json = false;   // --json
  std::string socket;  // --socket, else $REFORMER_SOCKET, else /run/reformerd/socket
  std::string
      offline_dir;  // --offline DIR: read a stopped daemon's database; empty: ask the daemon
  int exit_code = kExitOk;

  // Where output goes: results to out, messages to err.
  std::ostream* out = nullptr;
  std::ostream* err = nullptr;
  bool colour = false;    // out is a terminal, and NO_COLOR is not set
  bool progress = false;  // err is a terminal
  OpenChannel open_channel;

  // What stands behind `run ... --`.
  std::vector<std::string> command;
};

// The headings under which `reformerctl --help` lists the subcommands.
namespace group {
inline constexpr const char* kLook = "Looking at the daemon";
inline constexpr const char* kProblems = "Problems and their measurements";
inline constexpr const char* kFiles = "Measurement files";
inline constexpr const char* kModels = "Models";
inline constexpr const char* kApplications = "Applications";
inline constexpr const char* kOperate = "Operating the daemon";
}  // namespace group

void add_train(CLI::App& app, Session& session);
void add_eval(CLI::App& app, Session& session);
void add_ablate(CLI::App& app, Session& session);
void add_sweep(CLI::App& app, Session& session);

}  // namespace reformer::cli
