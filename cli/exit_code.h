#pragma once

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

}  // namespace reformer::cli
