#pragma once

#include <cstdint>
#include <string>

#include <CLI/CLI.hpp>

// reformerctl's skeleton. A subcommand is one file with one function `add_NAME(CLI::App&, Session&)`
// that declares its options and, as its callback, does the work and sets session.exit_code. To add
// one: write cli/NAME.cpp, declare the function below, call it in main.cpp.
namespace reformer::cli {

// Documented in reformerctl(1).
enum ExitCode : int {
  kExitOk = 0,
  kExitFailed = 1,       // the command ran and did not succeed; the message says why
  kExitUsage = 2,        // wrong options or arguments
  kExitNotFound = 3,     // the problem, model or record asked for does not exist
  kExitUnavailable = 4,  // the daemon is not running or does not answer
  kExitAlarm = 5,        // `check` found something to look at
};

// What every subcommand shares.
struct Session {
  bool json = false;         // --json
  std::string socket;        // --socket, else $REFORMER_SOCKET, else /run/reformerd/socket
  std::string offline_dir;   // --offline DIR: read a stopped daemon's database; empty: ask the daemon
  int exit_code = kExitOk;
};

void add_train(CLI::App& app, Session& session);
void add_eval(CLI::App& app, Session& session);
void add_ablate(CLI::App& app, Session& session);
void add_sweep(CLI::App& app, Session& session);

}  // namespace reformer::cli
