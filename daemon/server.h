#pragma once

#include "core/key.h"
#include "core/result.h"
#include "core/wire.h"
#include "daemon/turn_budget.h"

#include <chrono>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

struct uv_loop_s;

namespace reformer::daemon {

// What a connection said that it runs with.
struct ClientContext {
  core::Context context;
  std::uint64_t context_hash = 0;
  std::string library;
  std::int32_t gpu = 0;
};

// One connection, as the handler sees it. Valid during the call only: keep the id.
struct Client {
  std::uint64_t id = 0;
  std::uint32_t uid = 0;  // of the peer, by SO_PEERCRED: not what it says
  std::uint32_t gid = 0;
  std::uint32_t pid = 0;
  std::string program;
  std::string client;
  std::chrono::steady_clock::time_point connected;
  std::vector<ClientContext> contexts;
  std::uint64_t queries = 0, hits = 0, predicted = 0, abstained = 0;
  std::uint64_t passed_through = 0, failures = 0;
  std::string last_failure;
};

// The socket and its connections: framing, limits, contexts, and who is there. What is asked goes
// to the handler. A peer that breaks the protocol gets an Error and is closed; one that does not
// read what it asked for is dropped; one that asks without end gets a turn of kTurn at a time.
// While a query of a connection is being answered, its next requests wait, and nothing more is
// read. Threads: the loop.
class Server {
 public:
  struct Limits {
    std::size_t max_clients = 16384;
    std::size_t max_user_clients = 12288;  // of one uid
    std::size_t max_client_bytes = 4 << 20;
    std::size_t max_total_bytes = 256 << 20;
  };
  enum class Taken { kYes, kNoRoom };
  // Each on the loop; answers go through send(), now or later.
  struct Handler {
    // Whether the answer, a whole frame, was appended to `out`; on_query gets the others.
    std::function<bool(Client&,
                       std::uint32_t request_id,
                       const core::wire::PlainQuery&,
                       std::vector<std::byte>& out)>
        on_plain_query;
    // kYes: done() follows, now or later. kNoRoom: the same query comes again after room().
    std::function<Taken(Client&, std::uint32_t request_id, const core::wire::Query&)> on_query;
    std::function<void(Client&, const ClientContext&, const core::wire::Report&)> on_report;
    std::function<void(Client&, std::uint32_t request_id, const std::string& json)> on_admin;
    std::function<void(const ClientContext&)> on_context;
  };
  Server(uv_loop_s* loop, Handler handler, Limits limits, std::string table_path);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Binds and listens; a socket file on which nobody answers is replaced.
  // Errors: kUnavailable (somebody serves there; cannot bind).
  core::Status listen(const std::filesystem::path& path);
  // Serves an already listening descriptor (systemd).
  core::Status adopt(int descriptor);

  // Nothing happens where the client is gone.
  void send(std::uint64_t client, std::uint32_t request_id, const core::wire::Message& message);
  void send_error(std::uint64_t client, std::uint32_t request_id, const core::Error& error);
  // One that does not read what it asked for. Nothing happens where it is gone.
  void drop_slow(std::uint64_t client);
  // The handler is through with this client's query.
  void done(std::uint64_t client);
  // The handler may have room for one that it had none for.
  void room();
  void set_limits(Limits limits) { limits_ = limits; }
  void for_each_client(const std::function<void(const Client&)>& visit) const;
  [[nodiscard]] Client* find(std::uint64_t id);
  // Bytes that wait for this client to read them; 0 where it is gone.
  [[nodiscard]] std::size_t unread(std::uint64_t client) const;
  [[nodiscard]] std::size_t clients() const { return connections_.size(); }
  [[nodiscard]] std::uint64_t accepted() const { return next_id_ - 1; }
  [[nodiscard]] std::uint64_t errors() const { return errors_; }
  // Accepts no more and removes the socket file (not an adopted one's).
  void close();

  struct Connection;

 private:
  struct Listener;
  struct Pauser;
  core::Status start_listening();
  void accept();
  void start_reading(Connection& connection);
  void on_bytes(Connection& connection, std::span<const std::byte> bytes);
  // Takes whole frames off the front; how many bytes. Empty: the connection is closing.
  std::optional<std::size_t> take_frames(Connection& connection, std::span<const std::byte> bytes);
  bool keep(Connection& connection, std::span<const std::byte> rest);
  void pause(Connection& connection);
  void resume_paused();
  bool take_context(Connection& connection,
                    std::uint32_t request_id,
                    const core::wire::ContextMessage& context);
  bool take_frame(Connection& connection,
                  const core::wire::Header& header,
                  std::span<const std::byte> payload);
  bool take_query(Connection& connection,
                  const core::wire::Header& header,
                  std::span<const std::byte> payload);
  void refuse(Connection& connection, std::uint32_t request_id, const core::Error& error);
  // Where the next frame for this connection is appended to; then written().
  std::vector<std::byte>& frames_for(Connection& connection);
  void written(Connection& connection);
  void write(Connection& connection, std::span<const std::byte> bytes);
  void drop(Connection& connection);

  uv_loop_s* loop_;
  Handler handler_;
  Limits limits_;
  std::string table_path_;
  std::filesystem::path socket_path_;  // to remove; empty for an adopted descriptor
  Listener* listener_ = nullptr;       // freed by its close callback
  std::uint64_t next_id_ = 1;
  std::uint64_t errors_ = 0;
  std::size_t unread_bytes_ = 0;                           // of all clients
  std::size_t input_bytes_ = 0;                            // of all unfinished frames
  std::unordered_map<std::uint32_t, std::size_t> by_uid_;  // connections
  std::vector<std::uint64_t> paused_;                      // in the order of their next turn
  std::deque<std::uint64_t> without_room_;                 // whose queries wait for room()
  // Decoding a long query takes up to half a millisecond.
  TurnBudget long_queries_{4};
  Pauser* pauser_ = nullptr;  // freed by its close callback
  // Replies to the connection whose frames are being taken, written together.
  std::vector<std::byte> replies_;
  std::uint64_t replies_to_ = 0;  // its id; 0: none
  std::vector<std::byte> frame_;  // any other reply
  core::wire::Query query_;       // the one that is being handled: its memory is used again
  std::unordered_map<std::uint64_t, Connection*> connections_;  // freed by their close callbacks
};

}  // namespace reformer::daemon
