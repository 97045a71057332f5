#pragma once

#include "cli/exit_code.h"
#include "cli/program.h"

#include <deque>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

// A daemon that says what a test tells it to, and remembers what it was asked.
namespace reformer::cli::test {

struct Reply {
  std::vector<std::string> pieces;
  core::Status status = core::ok_status();
};

struct Script {
  std::deque<Reply> replies;          // one a request, in order
  std::vector<std::string> requests;  // what was asked
  core::Status opening = core::ok_status();
};

class FakeChannel : public AdminChannel {
 public:
  explicit FakeChannel(Script& script) : script_(script) {}
  core::Status ask(std::string_view request, const OnPiece& on_piece) override {
    script_.requests.emplace_back(request);
    if (script_.replies.empty()) {
      return core::make_error(core::ErrorCode::kInternal, "the test has no reply for this");
    }
    const Reply reply = std::move(script_.replies.front());
    script_.replies.pop_front();
    for (const std::string& piece : reply.pieces) {
      if (!on_piece(piece)) {
        break;
      }
    }
    return reply.status;
  }

 private:
  Script& script_;
};

struct Outcome {
  int exit_code;
  std::string out;
  std::string err;
};

// Runs reformerctl in this process against `script`.
inline Outcome run(Script& script, std::vector<std::string> arguments, bool terminal = false) {
  std::ostringstream out;
  std::ostringstream err;
  const Surroundings surroundings{
      .out = out,
      .err = err,
      .out_is_terminal = terminal,
      .err_is_terminal = false,
      .open_channel = [&](const std::string&,
                          const std::string&) -> core::Result<std::unique_ptr<AdminChannel>> {
        if (!script.opening) {
          return script.opening.error();
        }
        return std::unique_ptr<AdminChannel>(std::make_unique<FakeChannel>(script));
      }};
  const int exit_code = run_program(surroundings, std::move(arguments));
  return {exit_code, out.str(), err.str()};
}

// The same with one reply of the given pieces.
inline Outcome run(std::vector<std::string> arguments, std::vector<std::string> pieces) {
  Script script;
  script.replies.push_back({std::move(pieces)});
  return run(script, std::move(arguments));
}

}  // namespace reformer::cli::test
