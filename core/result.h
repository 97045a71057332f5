#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace reformer::core {

// Why an operation failed. The code says what a caller can do about it; the message is for people.
enum class ErrorCode {
  kInvalidArgument,  // the caller's input is wrong: text, JSON, option
  kCorrupt,          // bytes that do not decode: truncated, altered, impossible values
  kUnsupported,      // well-formed, but of a version or kind that this program does not know
  kUnavailable,      // the other side (daemon, GPU, library, file) is not there now; may work later
  kTimeout,          // the deadline passed
  kDenied,           // the caller may not do this
  kExhausted,        // a bound (queue, memory, disk) was reached
  kInternal,         // a defect of this program
  kNotFound,         // what was asked for by name does not exist: record, model
};

[[nodiscard]] std::string_view to_string(ErrorCode code);

struct Error {
  ErrorCode code = ErrorCode::kInternal;
  std::string message;
};

// A value or an Error. Use `Result<std::optional<T>>` (named Lookup) where "absent" is a normal
// outcome, so that found, absent and failed are three different things.
//
// Threads: as safe as T. Accessing value() of a failed result, or error() of a good one, throws
// std::bad_variant_access (a defect of the caller).
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT: implicit
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT: implicit

  [[nodiscard]] bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  [[nodiscard]] T& value() & { return std::get<0>(state_); }
  [[nodiscard]] const T& value() const& { return std::get<0>(state_); }
  [[nodiscard]] T&& value() && { return std::get<0>(std::move(state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  [[nodiscard]] const Error& error() const { return std::get<1>(state_); }

 private:
  std::variant<T, Error> state_;
};

struct Unit {};
using Status = Result<Unit>;
template <typename T>
using Lookup = Result<std::optional<T>>;

[[nodiscard]] inline Status ok_status() {
  return Unit{};
}
[[nodiscard]] inline Error make_error(ErrorCode code, std::string message) {
  return Error{code, std::move(message)};
}
// The same failure with what was being done put in front: "import: line 3: not JSON".
[[nodiscard]] inline Error in_context(std::string_view what, const Error& error) {
  return Error{error.code, std::string(what) + ": " + error.message};
}

}  // namespace reformer::core
