#include "tests/libclient/fake_daemon.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <stdexcept>
#include <utility>
#include <variant>

namespace reformer::test {
namespace {

namespace wire = core::wire;

void write_all(int fd, const std::vector<std::byte>& bytes) {
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t sent = ::send(fd, bytes.data() + done, bytes.size() - done, MSG_NOSIGNAL);
    if (sent <= 0) {
      return;
    }
    done += static_cast<std::size_t>(sent);
  }
}

}  // namespace

struct FakeDaemon::Peer {
  int fd;
  std::vector<std::byte> received;
  std::vector<core::Context> contexts;
};

FakeDaemon::FakeDaemon(std::string socket_path,
                       Behaviour behaviour,
                       Decide decide,
                       std::string table_path)
    : path_(std::move(socket_path)),
      table_path_(std::move(table_path)),
      decide_(std::move(decide)),
      behaviour_(behaviour) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path_.size() >= sizeof address.sun_path) {
    throw std::runtime_error("socket path too long");
  }
  std::memcpy(address.sun_path, path_.c_str(), path_.size());
  ::unlink(path_.c_str());
  listener_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (::bind(listener_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(listener_, 1024) != 0 || ::pipe2(wake_, O_CLOEXEC) != 0) {
    throw std::runtime_error("cannot listen");
  }
  thread_ = std::thread([this] { run(); });
}

FakeDaemon::~FakeDaemon() {
  ::close(wake_[1]);
  thread_.join();
  ::close(wake_[0]);
  ::close(listener_);
  ::unlink(path_.c_str());
}

std::vector<wire::Report> FakeDaemon::reports() {
  const std::lock_guard lock(mutex_);
  return reports_;
}
std::vector<wire::ContextMessage> FakeDaemon::contexts() {
  const std::lock_guard lock(mutex_);
  return contexts_;
}

void FakeDaemon::accept_peer(std::vector<Peer>& peers) {
  const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
  if (fd >= 0) {
    ++connections_;
    peers.push_back({fd, {}, {}});
  }
}

void FakeDaemon::run() {
  std::vector<Peer> peers;
  while (true) {
    std::vector<pollfd> watched{{wake_[0], POLLIN, 0}, {listener_, POLLIN, 0}};
    const bool hanging = behaviour_ == Behaviour::kHang;
    for (const Peer& peer : peers) {
      watched.push_back({peer.fd, static_cast<short>(hanging ? 0 : POLLIN), 0});
    }
    (void)::poll(watched.data(), watched.size(), hanging ? 5 : -1);
    if (watched[0].revents != 0) {
      break;
    }
    for (std::size_t i = peers.size(); i-- > 0;) {
      const short events = watched[i + 2].revents;
      if (events != 0 && (hanging || !serve(peers[i]))) {
        if (!hanging || (events & POLLHUP) != 0) {
          ::close(peers[i].fd);
          peers.erase(peers.begin() + static_cast<std::ptrdiff_t>(i));
        }
      }
    }
    if (watched[1].revents != 0) {
      accept_peer(peers);
    }
  }
  for (const Peer& peer : peers) {
    ::close(peer.fd);
  }
}

bool FakeDaemon::serve(Peer& peer) {
  std::array<std::byte, 65536> buffer;  // NOLINT: filled by recv
  const ssize_t got = ::recv(peer.fd, buffer.data(), buffer.size(), 0);
  if (got <= 0) {
    return false;
  }
  switch (behaviour_.load()) {
    case Behaviour::kHang:
      return true;
    case Behaviour::kClose:
      return false;
    case Behaviour::kGarbage:
      write_all(peer.fd, std::vector<std::byte>(100, std::byte{0xa5}));
      return true;
    case Behaviour::kOversize: {
      std::vector<std::byte> frame;
      wire::encode(wire::Pong{}, 1, frame);
      const std::uint32_t length = 0x7fffffff;
      std::memcpy(frame.data() + wire::kHeaderBytes - sizeof length, &length, sizeof length);
      write_all(peer.fd, frame);
      return true;
    }
    case Behaviour::kTrickle: {
      std::vector<std::byte> frame;
      wire::encode(wire::Welcome{"slow", ""}, 1, frame);
      for (const std::byte byte : frame) {
        write_all(peer.fd, {byte});
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
      return true;
    }
    case Behaviour::kAnswer:
      break;
  }
  peer.received.insert(peer.received.end(), buffer.begin(), buffer.begin() + got);
  while (true) {
    const auto header = wire::decode_header(peer.received);
    if (!header || !header->has_value()) {
      return header.ok();
    }
    const std::size_t length = wire::kHeaderBytes + (*header)->payload_bytes;
    if (peer.received.size() < length) {
      return true;
    }
    const auto message = wire::decode(
        **header, std::span(peer.received).subspan(wire::kHeaderBytes, (*header)->payload_bytes));
    if (!message) {
      return false;
    }
    handle(peer, **header, *message);
    peer.received.erase(peer.received.begin(),
                        peer.received.begin() + static_cast<std::ptrdiff_t>(length));
  }
}

void FakeDaemon::reply(Peer& peer, const wire::Message& message, std::uint32_t id) {
  std::vector<std::byte> frame;
  wire::encode(message, id, frame);
  write_all(peer.fd, frame);
}

void FakeDaemon::handle(Peer& peer, const wire::Header& header, const wire::Message& message) {
  if (std::holds_alternative<wire::Hello>(message)) {
    std::this_thread::sleep_for(greeting_delay_.load());
    reply(peer, wire::Welcome{"fake 0", table_path_}, header.request_id);
  } else if (const auto* context = std::get_if<wire::ContextMessage>(&message)) {
    peer.contexts.push_back(context->context);
    {
      const std::lock_guard lock(mutex_);
      contexts_.push_back(*context);
    }
    const auto id = static_cast<std::uint32_t>(peer.contexts.size() - 1);
    reply(peer, wire::ContextId{id}, header.request_id);
  } else if (const auto* query = std::get_if<wire::Query>(&message)) {
    wire::Answer answer;
    for (const core::Problem& problem : query->problems) {
      answer.decisions.push_back(decide_(peer.contexts.at(query->context_id), problem));
    }
    asked_ += query->problems.size();
    reply(peer, answer, header.request_id);
  } else if (const auto* report = std::get_if<wire::Report>(&message)) {
    const std::lock_guard lock(mutex_);
    reports_.push_back(*report);
  } else if (const auto* request = std::get_if<wire::AdminRequest>(&message)) {
    if (request->json == "refuse") {
      reply(peer, wire::ErrorMessage{core::ErrorCode::kDenied, "not you"}, header.request_id);
    } else {
      reply(peer, wire::AdminReply{true, "{\"rows\":[1]}"}, header.request_id);
      reply(peer, wire::AdminReply{false, request->json}, header.request_id);
    }
  }
}

TemporaryFolder::TemporaryFolder() {
  std::string pattern = std::filesystem::temp_directory_path() / "reformer-test.XXXXXX";
  if (::mkdtemp(pattern.data()) == nullptr) {
    throw std::runtime_error("cannot make a temporary folder");
  }
  path_ = pattern;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace reformer::test
