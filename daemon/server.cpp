#include "daemon/connection.h"

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

struct Server::Listener {
  uv_pipe_t pipe{};
};

namespace {

constexpr int kBacklog = 1024;

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

void Server::send(std::uint64_t client, std::uint32_t request_id, const wire::Message& message) {
  const auto found = connections_.find(client);
  if (found != connections_.end()) {
    wire::encode(message, request_id, frames_for(*found->second));
    written(*found->second);
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
