// What clients send: frames, taken in turns, and the replies that are collected meanwhile.
#include "daemon/connection.h"

#include <spdlog/spdlog.h>

#include <utility>

namespace reformer::daemon {

namespace wire = core::wire;

namespace {

constexpr std::size_t kMaxContexts = 64;
constexpr std::size_t kMaxContextBytes = 16384;  // of the names of a connection's contexts
constexpr std::size_t kReadBytes = 65536;
constexpr std::size_t kReplyBytes = 65536;  // collected before they are written
// For how long one client's requests may keep the others waiting.
constexpr std::uint64_t kTurnNs = 1'000'000;
constexpr unsigned kFramesBetweenClocks = 8;
constexpr std::size_t kLongQueryBytes = 16384;  // a query of more is a long one

}  // namespace

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
  if (payload.size() > kLongQueryBytes && !long_queries_.spend(uv_now(loop_))) {
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

}  // namespace reformer::daemon
