#pragma once

#include "cli/command.h"

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>

// Asking a daemon, and reading what it answers. Replies are hostile: a member that is missing or of
// another type is a Failure that names it.
namespace reformer::cli {

// The members of a reply stay in the order in which they came.
using Json = nlohmann::ordered_json;

// Why a command ends: the message for people and the exit code. Thrown by the functions here and by
// commands; caught by conduct().
class Failure : public std::runtime_error {
 public:
  Failure(ExitCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  // Of this process; what a daemon answers, ask() and ask_rows() throw.
  explicit Failure(const core::Error& error);
  [[nodiscard]] ExitCode code() const { return code_; }

 private:
  ExitCode code_;
};

// ---- members of a reply
[[nodiscard]] const Json& member(const Json& object, const char* name);  // any type but absent
[[nodiscard]] const Json& array_of(const Json& object, const char* name);
[[nodiscard]] const Json& object_of(const Json& object, const char* name);
[[nodiscard]] std::string text_of(const Json& object, const char* name);
[[nodiscard]] double number_of(const Json& object, const char* name);  // null is NaN
[[nodiscard]] std::int64_t integer_of(const Json& object, const char* name);
[[nodiscard]] std::uint64_t count_of(const Json& object, const char* name);
[[nodiscard]] bool flag_of(const Json& object, const char* name);
// The same for members that a daemon may leave out: absent and null are the default.
[[nodiscard]] std::string text_or(const Json& object, const char* name, std::string otherwise);
[[nodiscard]] double number_or_nan(const Json& object, const char* name);
[[nodiscard]] std::uint64_t count_or(const Json& object, const char* name, std::uint64_t otherwise);
[[nodiscard]] bool flag_or(const Json& object, const char* name, bool otherwise);

// ---- asking
using OnRow = std::function<void(const Json& row)>;

// A request whose reply is one object.
[[nodiscard]] Json ask(AdminChannel& channel, const Json& request);
// A request whose reply is rows; returns the other members of its pieces (totals).
Json ask_rows(AdminChannel& channel, const Json& request, const OnRow& on_row);

// Runs `work` with the session's channel, which opens at the first request. A Failure, or any other
// exception, becomes a message on session.err and session.exit_code.
void conduct(Session& session, const std::function<void(AdminChannel&)>& work);
// The same for commands that need no daemon.
void conduct_alone(Session& session, const std::function<void()>& work);

// ---- printing
void print_json(Session& session, const Json& reply);
// {"rows": [...], totals} as the rows arrive, one row a line.
void print_json_rows(Session& session, AdminChannel& channel, const Json& request);

}  // namespace reformer::cli
