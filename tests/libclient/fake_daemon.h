#pragma once

#include "core/wire.h"

#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <mutex>
#include <ostream>
#include <string>
#include <thread>
#include <vector>

namespace reformer::test {

// How a daemon behaves towards its clients.
enum class Behaviour {
  kAnswer,    // as it should
  kHang,      // accepts, reads nothing, says nothing
  kGarbage,   // answers every frame with random bytes
  kClose,     // closes as soon as a frame comes
  kOversize,  // announces a frame that is too long
  kTrickle,   // one byte a millisecond
};

inline std::ostream& operator<<(std::ostream& out, Behaviour behaviour) {
  constexpr const char* kNames[] = {"answer", "hang", "garbage", "close", "oversize", "trickle"};
  return out << kNames[static_cast<int>(behaviour)];
}

// A daemon in a thread of the test: one Unix socket, answers by a function. Destroying it closes
// its socket.
class FakeDaemon {
 public:
  using Decide = std::function<core::Decision(const core::Context&, const core::Problem&)>;

  // `table_path`: what it says of its shared table.
  FakeDaemon(std::string socket_path,
             Behaviour behaviour,
             Decide decide,
             std::string table_path = "");
  ~FakeDaemon();
  FakeDaemon(const FakeDaemon&) = delete;
  FakeDaemon& operator=(const FakeDaemon&) = delete;

  void set_behaviour(Behaviour behaviour) { behaviour_ = behaviour; }
  void delay_greetings(std::chrono::milliseconds delay) { greeting_delay_ = delay; }
  [[nodiscard]] std::size_t problems_asked() const { return asked_; }
  [[nodiscard]] std::size_t connections() const { return connections_; }
  [[nodiscard]] std::vector<core::wire::Report> reports();
  [[nodiscard]] std::vector<core::wire::ContextMessage> contexts();

 private:
  struct Peer;
  void run();
  void accept_peer(std::vector<Peer>& peers);
  bool serve(Peer& peer);  // false: the peer is gone
  void handle(Peer& peer, const core::wire::Header& header, const core::wire::Message& message);
  void reply(Peer& peer, const core::wire::Message& message, std::uint32_t id);

  const std::string path_;
  const std::string table_path_;
  const Decide decide_;
  int listener_ = -1;
  int wake_[2] = {-1, -1};
  std::atomic<Behaviour> behaviour_;
  std::atomic<std::chrono::milliseconds> greeting_delay_{};
  std::atomic<std::size_t> asked_{0};
  std::atomic<std::size_t> connections_{0};
  std::mutex mutex_;
  std::vector<core::wire::Report> reports_;
  std::vector<core::wire::ContextMessage> contexts_;
  std::thread thread_;
};

// A new folder that goes away with the object.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  [[nodiscard]] std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace reformer::test
