#include "cli/socket_channel.h"

#include "libclient/reformer.h"

#include <fmt/format.h>

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <exception>

namespace reformer::cli {
namespace {

// `verify --wait` and `compact` take as long as they take; nothing else comes near it.
constexpr std::uint32_t kDeadlineMs = 10 * 60 * 1000;

core::ErrorCode code_of(reformer_status status) {
  switch (status) {
    case REFORMER_INVALID_ARGUMENT:
      return core::ErrorCode::kInvalidArgument;
    case REFORMER_CORRUPT:
      return core::ErrorCode::kCorrupt;
    case REFORMER_UNSUPPORTED:
      return core::ErrorCode::kUnsupported;
    case REFORMER_UNAVAILABLE:
      return core::ErrorCode::kUnavailable;
    case REFORMER_TIMEOUT:
      return core::ErrorCode::kTimeout;
    case REFORMER_DENIED:
      return core::ErrorCode::kDenied;
    case REFORMER_EXHAUSTED:
      return core::ErrorCode::kExhausted;
    case REFORMER_NOT_FOUND:
      return core::ErrorCode::kNotFound;
    default:
      return core::ErrorCode::kInternal;
  }
}

// Whether anyone listens: 0, or the errno of a connection attempt. The library would only say
// "unavailable".
int probe(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return ENAMETOOLONG;
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) {
    return errno;
  }
  const int connected = ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address);
  const int error = connected == 0 ? 0 : errno;
  ::close(fd);
  return error;
}

// A request on its way through the C interface, which no exception may cross.
struct Call {
  const AdminChannel::OnPiece& on_piece;
  std::exception_ptr thrown;
};

int hand_over(void* user, const char* json, std::size_t length, int /*more*/) noexcept {
  auto& call = *static_cast<Call*>(user);
  try {
    return call.on_piece(std::string_view(json, length)) ? 0 : 1;
  } catch (...) {
    call.thrown = std::current_exception();
    return 1;
  }
}

class SocketChannel : public AdminChannel {
 public:
  SocketChannel(reformer_client* client, std::string socket)
      : client_(client), socket_(std::move(socket)) {}

  core::Status ask(std::string_view request, const OnPiece& on_piece) override {
    Call call{on_piece, nullptr};
    const reformer_status status = reformer_admin(
        client_.get(), request.data(), request.size(), kDeadlineMs, hand_over, &call);
    if (call.thrown) {
      std::rethrow_exception(call.thrown);
    }
    if (status == REFORMER_OK) {
      return core::ok_status();
    }
    const char* why = reformer_last_error();
    return core::make_error(
        code_of(status),
        fmt::format("{}: {}", socket_, *why != '\0' ? why : reformer_status_text(status)));
  }

 private:
  struct Disconnect {
    void operator()(reformer_client* client) const { reformer_disconnect(client); }
  };
  std::unique_ptr<reformer_client, Disconnect> client_;
  std::string socket_;
};

}  // namespace

core::Result<std::unique_ptr<AdminChannel>> open_socket_channel(const std::string& socket) {
  if (const int error = probe(socket); error != 0) {
    return core::make_error(
        core::ErrorCode::kUnavailable,
        fmt::format("no daemon at {} ({}): start it with `systemctl start reformerd`, or set "
                    "REFORMER_SOCKET / --offline DIR",
                    socket,
                    std::strerror(error)));
  }
  reformer_options options{};
  options.socket_path = socket.c_str();
  options.client_name = "reformerctl";
  reformer_client* client = nullptr;
  if (const reformer_status status = reformer_connect(&options, &client); status != REFORMER_OK) {
    return core::make_error(code_of(status), reformer_last_error());
  }
  return std::unique_ptr<AdminChannel>(std::make_unique<SocketChannel>(client, socket));
}

}  // namespace reformer::cli
