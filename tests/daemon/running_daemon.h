#pragma once

#include "core/wire.h"

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

// A private reformerd in a temporary folder, and a client of it, for whole-daemon scenarios.
namespace reformer::testing {

inline constexpr std::chrono::seconds kDeadline{20};

// Asks until `holds` or the deadline.
bool eventually(const std::function<bool()>& holds);

class Folder {
 public:
  Folder();
  ~Folder();
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  std::filesystem::path write(const std::string& name,
                              const std::string& text,
                              bool program = false) const;

 private:
  std::filesystem::path path_;
};

class RunningDaemon {
 public:
  // Adds --state-dir and --socket below `folder`; returns once it answers or has ended.
  // `user`: whom it runs as, where root starts it.
  RunningDaemon(const Folder& folder,
                std::vector<std::string> arguments,
                std::optional<uid_t> user = std::nullopt);
  ~RunningDaemon();  // SIGKILL if it still runs
  RunningDaemon(const RunningDaemon&) = delete;
  RunningDaemon& operator=(const RunningDaemon&) = delete;

  [[nodiscard]] std::string socket() const { return socket_; }
  void signal(int number) const;
  // The exit status; negative: ended by that signal; empty: still running at the deadline.
  std::optional<int> wait();
  // The same at once.
  std::optional<int> ended();
  [[nodiscard]] std::string log() const;
  [[nodiscard]] pid_t pid() const { return pid_; }

 private:
  std::filesystem::path log_;
  std::string socket_;
  pid_t pid_ = -1;
  std::optional<int> status_;
};

// A blocking client with a deadline for each receipt.
class TestClient {
 public:
  explicit TestClient(const std::string& socket);
  ~TestClient();
  TestClient(const TestClient&) = delete;
  TestClient& operator=(const TestClient&) = delete;

  [[nodiscard]] bool connected() const { return fd_ >= 0; }
  bool send_bytes(const std::vector<std::byte>& bytes) const;
  bool send(const core::wire::Message& message, std::uint32_t id = 1) const;
  // The next message; empty at the end of the connection or the deadline.
  std::optional<core::wire::Message> receive();
  template <typename Reply>
  std::optional<Reply> ask(const core::wire::Message& message) {
    send(message);
    const auto reply = receive();
    const auto* found = reply ? std::get_if<Reply>(&*reply) : nullptr;
    return found != nullptr ? std::optional<Reply>(*found) : std::nullopt;
  }
  // Sends Hello and a context of the recorded device.
  std::uint32_t greet();
  // The answer to one problem (text); greets first.
  core::Decision query(const std::string& problem, core::Constraints constraints = {});
  // Rows of the pieces are put together; an Error is {"error": message}.
  nlohmann::json admin(const nlohmann::json& request);
  // Whether the daemon has closed the connection by the deadline.
  bool closed();

 private:
  std::vector<std::byte> input_;
  std::optional<std::uint32_t> context_;
  int fd_ = -1;
};

[[nodiscard]] core::Context recorded_context();
// A measurement line of a problem that no model was trained on, with two candidates. As many
// filters as channels, where it is not said.
[[nodiscard]] std::string sample_line(int channels, double best_us, int filters = 0);
[[nodiscard]] std::string sample_problem(int channels, int filters = 0);

}  // namespace reformer::testing
