#include "daemon/server.h"

#include <uv.h>

#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace reformer::daemon {

namespace wire = core::wire;

// Lifecycle: accept() makes it; drop() takes it out of connections_ and closes the handle, whose
// close callback frees it. Between the two, `server` is null and write callbacks only free memory.
struct Server::Connection {
  uv_pipe_t pipe{};
  Server* server = nullptr;
  Client client;
  std::vector<std::byte> input;  // an incomplete frame, or what waits for the next turn
  std::size_t unread_bytes = 0;  // handed to the kernel or waiting to be
  bool closing_after_write = false;
  bool paused = false;
  enum class Wait {
    kNothing,
    kAnswer,
    kRoom,
    kTurn
  } wait = Wait::kNothing;        // what its requests wait for
  std::size_t context_bytes = 0;  // of names
  bool counted = false;           // in by_uid_
  std::uint64_t turn_ms = 0;      // the loop's time when its turn began
  std::uint64_t turn_began_ns = 0;
};

struct Server::Listener {
  uv_pipe_t pipe{};
};
struct Server::Pauser {
  uv_idle_t idle{};
};

namespace {

constexpr int kBacklog = 1024;
constexpr std::size_t kMaxContexts = 64;
constexpr std::size_t kMaxContextBytes = 16384;  // of the names of a connection's contexts
constexpr std::size_t kReadBytes = 65536;
constexpr std::size_t kReplyBytes = 65536;  // collected before they are written
// For how long one client's requests may keep the others waiting.
constexpr std::uint64_t kTurnNs = 1'000'000;
constexpr unsigned kFramesBetweenClocks = 8;
// Decoding a long query takes up to half a millisecond.
constexpr std::size_t kLongQueryBytes = 16384;
constexpr unsigned kLongQueriesInATurn = 4;

struct WriteRequest {
  uv_write_t write{};
  std::vector<std::byte> bytes;
  std::size_t counted = 0;  // of them, against the limits
  Server::Connection* connection = nullptr;
};

core::Error unavailable(const std::string& what, const char* why) {
  return core::make_error(core::ErrorCode::kUnavailable, what + ": " + why);
}

// Whether somebody answers on the socket at `path`.
bool is_served(const std::filesystem::path& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
  const int probe = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const bool served =
      ::connect(probe, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ||
      errno == EAGAIN;
  ::close(probe);
  return served;
}

}  // namespace

Server::Server(uv_loop_s* loop, Handler handler, Limits limits, std::string table_path)
    : loop_(loop),
      handler_(std::move(handler)),
      limits_(limits),
      table_path_(std::move(table_path)),
      pauser_(new Pauser) {
  uv_idle_init(loop_, &pauser_->idle);
  pauser_->idle.data = this;
}

Server::~Server() {
  close();
  while (!connections_.empty()) {
    drop(*connections_.begin()->second);
  }
  uv_close(reinterpret_cast<uv_handle_t*>(&pauser_->idle), [](uv_handle_t* handle) {
    delete reinterpret_cast<Pauser*>(handle);  // its first member
  });
}

core::Status Server::listen(const std::filesystem::path& path) {
  struct stat file {};
  if (::lstat(path.c_str(), &file) == 0) {
    if (!S_ISSOCK(file.st_mode)) {
      return unavailable(path, "exists and is not a socket");
    }
    if (is_served(path)) {
      return unavailable(path, "another daemon serves this socket");
    }
    ::unlink(path.c_str());
  }
  listener_ = new Listener;
  uv_pipe_init(loop_, &listener_->pipe, 0);
  listener_->pipe.data = this;
  if (const int failed = uv_pipe_bind(&listener_->pipe, path.c_str()); failed != 0) {
    return unavailable(path, uv_strerror(failed));
  }
  socket_path_ = path;
  ::chmod(path.c_str(), 0666);  // everyone may ask; SO_PEERCRED decides who may change things
  return start_listening();
}

core::Status Server::adopt(int descriptor) {
  listener_ = new Listener;
  uv_pipe_init(loop_, &listener_->pipe, 0);
  listener_->pipe.data = this;
  if (const int failed = uv_pipe_open(&listener_->pipe, descriptor); failed != 0) {
    return unavailable("the descriptor from systemd", uv_strerror(failed));
  }
  return start_listening();
}

core::Status Server::start_listening() {
  const auto on_connection = [](uv_stream_t* stream, int status) {
    if (status == 0) {
      static_cast<Server*>(stream->data)->accept();
    }
  };
  const int failed =
      uv_listen(reinterpret_cast<uv_stream_t*>(&listener_->pipe), kBacklog, on_connection);
  return failed == 0 ? core::ok_status() : unavailable("listening", uv_strerror(failed));
}

void Server::close() {
  if (listener_ == nullptr) {
    return;
  }
  uv_close(reinterpret_cast<uv_handle_t*>(&listener_->pipe), [](uv_handle_t* handle) {
    delete reinterpret_cast<Listener*>(handle);  // its first member
  });
  listener_ = nullptr;
  if (!socket_path_.empty()) {
    ::unlink(socket_path_.c_str());
  }
}

void Server::accept() {
  auto* connection = new Connection;
  connection->server = this;
  uv_pipe_init(loop_, &connection->pipe, 0);
  connection->pipe.data = connection;
  Client& client = connection->client;
  client.id = next_id_++;
  client.connected = std::chrono::steady_clock::now();
  connections_.emplace(client.id, connection);
  auto* stream = reinterpret_cast<uv_stream_t*>(&connection->pipe);
  uv_os_fd_t descriptor = -1;
  ucred peer{};
  socklen_t size = sizeof peer;
  if (uv_accept(reinterpret_cast<uv_stream_t*>(&listener_->pipe), stream) != 0 ||
      uv_fileno(reinterpret_cast<uv_handle_t*>(stream), &descriptor) != 0 ||
      ::getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
    drop(*connection);
    return;
  }
  client.uid = peer.uid;
  client.gid = peer.gid;
  client.pid = static_cast<std::uint32_t>(peer.pid);
  connection->counted = true;
  const std::size_t of_user = ++by_uid_[client.uid];
  if (connections_.size() > limits_.max_clients || of_user > limits_.max_user_clients) {
    refuse(*connection, 0, core::make_error(core::ErrorCode::kExhausted, "too many clients"));
    return;
  }
  start_reading(*connection);
}

void Server::start_reading(Connection& connection) {
  uv_read_start(
      reinterpret_cast<uv_stream_t*>(&connection.pipe),
      [](uv_handle_t*, std::size_t, uv_buf_t* buffer) {
        // One buffer for all: it is copied from before the next read.
        static thread_local std::vector<char> shared(kReadBytes);
        *buffer = uv_buf_init(shared.data(), kReadBytes);
      },
      [](uv_stream_t* from, ssize_t count, const uv_buf_t* buffer) {
        auto* self = static_cast<Connection*>(from->data);
        if (count < 0) {
          self->server->drop(*self);
        } else if (count > 0) {
          self->server->on_bytes(
              *self, std::as_bytes(std::span(buffer->base, static_cast<std::size_t>(count))));
        }
      });
}

void Server::on_bytes(Connection& connection, std::span<const std::byte> bytes) {
  auto& input = connection.input;
  const bool fresh = input.empty();
  if (!fresh && !keep(connection, bytes)) {
    return;
  }
  const auto used = take_frames(connection, fresh ? bytes : std::span<const std::byte>(input));
  if (!used) {
    return;
  }
  if (fresh) {
    keep(connection, bytes.subspan(*used));
  } else if (*used > 0) {
    input_bytes_ -= *used;
    input.erase(input.begin(), input.begin() + static_cast<std::ptrdiff_t>(*used));
    if (input.empty()) {
      std::vector<std::byte>().swap(input);  // idle clients cost no buffer
    }
  }
}

// Appends to an unfinished frame. False: the connection was dropped.
bool Server::keep(Connection& connection, std::span<const std::byte> rest) {
  if (input_bytes_ + rest.size() > limits_.max_total_bytes) {
    spdlog::info("dropping client {} (pid {}): unfinished requests of all clients are too long",
                 connection.client.id,
                 connection.client.pid);
    drop(connection);
    return false;
  }
  input_bytes_ += rest.size();
  connection.input.insert(connection.input.end(), rest.begin(), rest.end());
  return true;
}

std::optional<std::size_t> Server::take_frames(Connection& connection,
                                               std::span<const std::byte> bytes) {
  const std::uint64_t id = connection.client.id;
  if (connection.turn_ms != uv_now(loop_)) {
    connection.turn_ms = uv_now(loop_);
    connection.turn_began_ns = uv_hrtime();
  }
  replies_to_ = id;
  std::size_t used = 0;
  unsigned frames = 0;
  bool open = true;
  while (open) {
    const auto rest = bytes.subspan(used);
    const auto header = wire::decode_header(rest);
    if (!header) {
      refuse(connection, 0, header.error());
      open = false;
      break;
    }
    if (!*header) {
      break;
    }
    if ((*header)->version != wire::kProtocolVersion) {
      refuse(
          connection,
          (*header)->request_id,
          core::make_error(core::ErrorCode::kUnsupported,
                           "this daemon speaks protocol " + std::to_string(wire::kProtocolVersion) +
                               ", not " + std::to_string((*header)->version)));
      open = false;
      break;
    }
    const std::size_t whole = wire::kHeaderBytes + (*header)->payload_bytes;
    if (rest.size() < whole) {
      break;
    }
    open = take_frame(
               connection, **header, rest.subspan(wire::kHeaderBytes, (*header)->payload_bytes)) &&
           connections_.contains(id);
    if (open && connection.wait != Connection::Wait::kNothing) {
      used += connection.wait == Connection::Wait::kAnswer ? whole : 0;
      uv_read_stop(reinterpret_cast<uv_stream_t*>(&connection.pipe));
      break;
    }
    used += whole;
    if (open && used < bytes.size() && ++frames % kFramesBetweenClocks == 0 &&
        uv_hrtime() - connection.turn_began_ns > kTurnNs) {
      pause(connection);
      break;
    }
  }
  replies_to_ = 0;
  if (connections_.contains(id)) {
    const bool closing = connection.closing_after_write;
    write(connection, replies_);  // may drop it
    open = open && !closing && connections_.contains(id);
  }
  replies_.clear();
  return open ? std::optional(used) : std::nullopt;
}

// Until the next turn of the loop, when the others have had theirs.
void Server::pause(Connection& connection) {
  if (connection.paused) {
    return;
  }
  connection.paused = true;
  uv_read_stop(reinterpret_cast<uv_stream_t*>(&connection.pipe));
  paused_.push_back(connection.client.id);
  uv_idle_start(&pauser_->idle,
                [](uv_idle_t* idle) { static_cast<Server*>(idle->data)->resume_paused(); });
}

void Server::resume_paused() {
  std::vector<std::uint64_t> turn;
  turn.swap(paused_);
  uv_idle_stop(&pauser_->idle);
  for (const std::uint64_t id : turn) {
    const auto found = connections_.find(id);
    if (found == connections_.end()) {
      room();  // it may have been the one that was to have it
      continue;
    }
    Connection& connection = *found->second;
    connection.paused = false;
    if (connection.wait == Connection::Wait::kTurn) {
      connection.wait = Connection::Wait::kNothing;
    }
    connection.turn_ms = 0;
    on_bytes(connection, {});
    if (connections_.contains(id) && !connection.paused && !connection.closing_after_write &&
        connection.wait == Connection::Wait::kNothing) {
      start_reading(connection);
    }
  }
}

void Server::done(std::uint64_t client) {
  const auto found = connections_.find(client);
  if (found == connections_.end() || found->second->wait != Connection::Wait::kAnswer) {
    return;
  }
  found->second->wait = Connection::Wait::kNothing;
  if (client != replies_to_ && !found->second->closing_after_write) {
    pause(*found->second);  // not now: others have their turn first
  }
}

void Server::room() {
  while (!without_room_.empty()) {
    const auto found = connections_.find(without_room_.front());
    without_room_.pop_front();
    if (found != connections_.end()) {
      found->second->wait = Connection::Wait::kNothing;
      pause(*found->second);
      return;
    }
  }
}

// False: the connection is closing.
bool Server::take_frame(Connection& connection,
                        const wire::Header& header,
                        std::span<const std::byte> payload) {
  if (header.type == wire::MessageType::kQuery) {  // most of them
    return take_query(connection, header, payload);
  }
  const auto message = wire::decode(header, payload);
  if (!message) {
    refuse(connection, header.request_id, message.error());
    return false;
  }
  Client& client = connection.client;
  const std::uint32_t request = header.request_id;
  if (const auto* hello = std::get_if<wire::Hello>(&*message)) {
    client.program = hello->program;
    client.client = hello->client;
    send(client.id, request, wire::Welcome{"reformerd 0.1.0", table_path_});
  } else if (const auto* context = std::get_if<wire::ContextMessage>(&*message)) {
    return take_context(connection, request, *context);
  } else if (const auto* report = std::get_if<wire::Report>(&*message)) {
    if (report->context_id < client.contexts.size()) {
      handler_.on_report(client, client.contexts[report->context_id], *report);
    }
  } else if (const auto* admin = std::get_if<wire::AdminRequest>(&*message)) {
    handler_.on_admin(client, request, admin->json);
  } else if (std::holds_alternative<wire::Ping>(*message)) {
    send(client.id, request, wire::Pong{});
  } else {
    refuse(connection,
           request,
           core::make_error(core::ErrorCode::kUnsupported, "not a message for a daemon"));
    return false;
  }
  return true;
}

bool Server::take_context(Connection& connection,
                          std::uint32_t request_id,
                          const wire::ContextMessage& context) {
  Client& client = connection.client;
  connection.context_bytes += context.library.size() + context.context.device.name.size();
  if (client.contexts.size() >= kMaxContexts || connection.context_bytes > kMaxContextBytes) {
    refuse(
        connection, request_id, core::make_error(core::ErrorCode::kExhausted, "too many contexts"));
    return false;
  }
  client.contexts.push_back(
      {context.context, core::hash_context(context.context), context.library, context.gpu});
  handler_.on_context(client.contexts.back());
  const auto id = static_cast<std::uint32_t>(client.contexts.size() - 1);
  send(client.id, request_id, wire::ContextId{id});
  return true;
}

bool Server::spend_long_query() {
  if (const std::uint64_t now = uv_now(loop_); now != long_turn_ms_) {
    long_turn_ms_ = now;
    long_queries_left_ = kLongQueriesInATurn;
  }
  if (long_queries_left_ == 0) {
    return false;
  }
  --long_queries_left_;
  return true;
}

bool Server::take_query(Connection& connection,
                        const wire::Header& header,
                        std::span<const std::byte> payload) {
  Client& client = connection.client;
  const auto plain = wire::plain_query(payload);
  if (plain && plain->context_id < client.contexts.size() &&
      handler_.on_plain_query(client, header.request_id, *plain, replies_)) {
    written(connection);
    return true;
  }
  if (payload.size() > kLongQueryBytes && !spend_long_query()) {
    connection.wait = Connection::Wait::kTurn;
    pause(connection);
    return true;
  }
  if (!wire::decode_query(payload, query_)) {
    refuse(connection,
           header.request_id,
           core::make_error(core::ErrorCode::kCorrupt, "message does not decode"));
    return false;
  }
  if (query_.context_id >= client.contexts.size()) {
    send_error(client.id,
               header.request_id,
               core::make_error(core::ErrorCode::kInvalidArgument, "unknown context"));
  } else {
    connection.wait = Connection::Wait::kAnswer;
    if (handler_.on_query(client, header.request_id, query_) == Taken::kNoRoom) {
      connection.wait = Connection::Wait::kRoom;
      without_room_.push_back(client.id);
    }
  }
  return true;
}

void Server::send(std::uint64_t client, std::uint32_t request_id, const wire::Message& message) {
  const auto found = connections_.find(client);
  if (found != connections_.end()) {
    wire::encode(message, request_id, frames_for(*found->second));
    written(*found->second);
  }
}

std::vector<std::byte>& Server::frames_for(Connection& connection) {
  if (connection.client.id == replies_to_) {
    return replies_;
  }
  frame_.clear();
  return frame_;
}

void Server::written(Connection& connection) {
  if (connection.client.id != replies_to_) {
    write(connection, frame_);
  } else if (replies_.size() >= kReplyBytes) {
    replies_to_ = 0;  // write() may drop it
    const std::uint64_t id = connection.client.id;
    write(connection, replies_);
    replies_.clear();
    replies_to_ = id;
  }
}

void Server::send_error(std::uint64_t client, std::uint32_t request_id, const core::Error& error) {
  ++errors_;
  send(client, request_id, wire::ErrorMessage{error.code, error.message});
}

// Tells why, then closes.
void Server::refuse(Connection& connection, std::uint32_t request_id, const core::Error& error) {
  uv_read_stop(reinterpret_cast<uv_stream_t*>(&connection.pipe));
  connection.closing_after_write = true;
  send_error(connection.client.id, request_id, error);
}

void Server::write(Connection& connection, std::span<const std::byte> bytes) {
  if (bytes.empty()) {
    return;
  }
  auto* stream = reinterpret_cast<uv_stream_t*>(&connection.pipe);
  std::size_t written = 0;
  if (connection.unread_bytes == 0) {  // the usual case: no allocation, no callback
    auto* data = const_cast<char*>(reinterpret_cast<const char*>(bytes.data()));  // only read
    uv_buf_t buffer = uv_buf_init(data, static_cast<unsigned>(bytes.size()));
    const int count = uv_try_write(stream, &buffer, 1);
    if (count < 0 && count != UV_EAGAIN) {
      drop(connection);
      return;
    }
    written = count > 0 ? static_cast<std::size_t>(count) : 0;
    if (written == bytes.size()) {
      if (connection.closing_after_write) {
        drop(connection);
      }
      return;
    }
  }
  const std::size_t size = bytes.size() - written;
  if (connection.unread_bytes + size > limits_.max_client_bytes ||
      unread_bytes_ + size > limits_.max_total_bytes) {
    spdlog::info("dropping client {} (pid {}): it does not read",
                 connection.client.id,
                 connection.client.pid);
    drop(connection);
    return;
  }
  connection.unread_bytes += size;
  unread_bytes_ += size;
  const auto rest = bytes.subspan(written);
  auto* request = new WriteRequest{{}, {rest.begin(), rest.end()}, size, &connection};
  request->write.data = request;
  uv_buf_t buffer =
      uv_buf_init(reinterpret_cast<char*>(request->bytes.data()), static_cast<unsigned>(size));
  const auto done = [](uv_write_t* write, int status) {
    auto* finished = static_cast<WriteRequest*>(write->data);
    Connection& peer = *finished->connection;
    if (peer.server != nullptr) {
      peer.unread_bytes -= finished->counted;
      peer.server->unread_bytes_ -= finished->counted;
      if (status != 0 || (peer.closing_after_write && peer.unread_bytes == 0)) {
        peer.server->drop(peer);
      }
    }
    delete finished;
  };
  if (uv_write(&request->write, stream, &buffer, 1, done) != 0) {
    delete request;
    drop(connection);
  }
}

void Server::drop(Connection& connection) {
  if (connection.server == nullptr) {
    return;
  }
  unread_bytes_ -= connection.unread_bytes;
  input_bytes_ -= connection.input.size();
  if (const auto user = by_uid_.find(connection.client.uid);
      connection.counted && user != by_uid_.end() && --user->second == 0) {
    by_uid_.erase(user);
  }
  connection.server = nullptr;
  connections_.erase(connection.client.id);
  uv_close(reinterpret_cast<uv_handle_t*>(&connection.pipe),
           [](uv_handle_t* handle) { delete static_cast<Connection*>(handle->data); });
}

void Server::for_each_client(const std::function<void(const Client&)>& visit) const {
  for (const auto& [id, connection] : connections_) {
    visit(connection->client);
  }
}

std::size_t Server::unread(std::uint64_t client) const {
  const auto found = connections_.find(client);
  return found == connections_.end() ? 0 : found->second->unread_bytes;
}

void Server::drop_slow(std::uint64_t client) {
  if (const auto found = connections_.find(client); found != connections_.end()) {
    spdlog::info(
        "dropping client {} (pid {}): it does not read", client, found->second->client.pid);
    drop(*found->second);
  }
}

Client* Server::find(std::uint64_t id) {
  const auto found = connections_.find(id);
  return found == connections_.end() ? nullptr : &found->second->client;
}

}  // namespace reformer::daemon
