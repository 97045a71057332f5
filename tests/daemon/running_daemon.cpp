#include "tests/daemon/running_daemon.h"

#include "core/problem_text.h"

#include <fmt/core.h>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <thread>

namespace reformer::testing {

namespace wire = core::wire;
using Clock = std::chrono::steady_clock;

bool eventually(const std::function<bool()>& holds) {
  const auto deadline = Clock::now() + kDeadline;
  while (!holds()) {
    if (Clock::now() > deadline) {
      return false;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

Folder::Folder() {
  std::string name = (std::filesystem::temp_directory_path() / "reformerd-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) {
    throw std::runtime_error("no temporary folder");
  }
  path_ = name;
}
Folder::~Folder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}
std::filesystem::path Folder::write(const std::string& name,
                                    const std::string& text,
                                    bool program) const {
  const auto file = path_ / name;
  std::ofstream(file, std::ios::trunc) << text;
  if (program) {
    std::filesystem::permissions(file, std::filesystem::perms::owner_all);
  }
  return file;
}

RunningDaemon::RunningDaemon(const Folder& folder,
                             std::vector<std::string> arguments,
                             std::optional<uid_t> user)
    : log_(folder.path() / "log"), socket_((folder.path() / "socket").string()) {
  std::vector<std::string> fixed{
      REFORMERD, "--foreground", "--state-dir", (folder.path() / "state").string()};
  const auto named = std::find(arguments.begin(), arguments.end(), "--socket");
  if (named == arguments.end()) {
    fixed.insert(fixed.end(), {"--socket", socket_});
  } else {
    socket_ = *std::next(named);
  }
  arguments.insert(arguments.begin(), fixed.begin(), fixed.end());
  std::vector<char*> raw;
  for (auto& argument : arguments) {
    raw.push_back(argument.data());
  }
  raw.push_back(nullptr);
  pid_ = ::fork();
  if (pid_ == 0) {
    const int log = ::open(log_.c_str(), O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
    ::dup2(log, STDERR_FILENO);
    if (user && (::setgid(*user) != 0 || ::setuid(*user) != 0)) {
      ::_exit(126);
    }
    ::execv(raw[0], raw.data());
    ::_exit(127);
  }
  eventually([&] {
    if (ended()) {
      return true;
    }
    TestClient client(socket_);
    return client.connected() && client.ask<wire::Pong>(wire::Ping{}).has_value();
  });
}

RunningDaemon::~RunningDaemon() {
  if (!status_) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
}

void RunningDaemon::signal(int number) const {
  ::kill(pid_, number);
}

std::optional<int> RunningDaemon::ended() {
  int status = 0;
  if (!status_ && ::waitpid(pid_, &status, WNOHANG) == pid_) {
    status_ = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  return status_;
}

std::optional<int> RunningDaemon::wait() {
  eventually([&] { return ended().has_value(); });
  return status_;
}

std::string RunningDaemon::log() const {
  std::ifstream file(log_);
  return {std::istreambuf_iterator<char>(file), {}};
}

TestClient::TestClient(const std::string& socket) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, socket.c_str(), sizeof address.sun_path - 1);
  fd_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    ::close(fd_);
    fd_ = -1;
  }
}

TestClient::~TestClient() {
  if (fd_ >= 0) {
    ::close(fd_);
  }
}

bool TestClient::send_bytes(const std::vector<std::byte>& bytes) const {
  return ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
         static_cast<ssize_t>(bytes.size());
}

bool TestClient::send(const wire::Message& message, std::uint32_t id) const {
  std::vector<std::byte> bytes;
  wire::encode(message, id, bytes);
  return send_bytes(bytes);
}

std::optional<wire::Message> TestClient::receive() {
  const auto deadline = Clock::now() + kDeadline;
  while (true) {
    const auto header = wire::decode_header(input_);
    if (!header) {
      return std::nullopt;
    }
    if (*header && input_.size() >= wire::kHeaderBytes + (*header)->payload_bytes) {
      const std::size_t whole = wire::kHeaderBytes + (*header)->payload_bytes;
      auto message =
          wire::decode(**header, std::span(input_).first(whole).subspan(wire::kHeaderBytes));
      input_.erase(input_.begin(), input_.begin() + static_cast<std::ptrdiff_t>(whole));
      return message ? std::optional(std::move(*message)) : std::nullopt;
    }
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    pollfd ready{fd_, POLLIN, 0};
    std::byte buffer[65536];
    if (left <= 0 || ::poll(&ready, 1, static_cast<int>(left)) <= 0) {
      return std::nullopt;
    }
    const ssize_t count = ::recv(fd_, buffer, sizeof buffer, 0);
    if (count <= 0) {
      return std::nullopt;
    }
    input_.insert(input_.end(), buffer, buffer + count);
  }
}

std::uint32_t TestClient::greet() {
  const auto welcome = ask<wire::Welcome>(wire::Hello{1, "test", "test"});
  const auto context = ask<wire::ContextId>(wire::ContextMessage{recorded_context(), "", -1});
  if (!welcome || !context) {
    throw std::runtime_error("the daemon does not greet");
  }
  return context->id;
}

core::Decision TestClient::query(const std::string& problem, core::Constraints constraints) {
  if (!context_) {
    context_ = greet();
  }
  wire::Query query;
  query.context_id = *context_;
  query.constraints = constraints;
  query.problems = {core::parse_problem(problem).value()};
  const auto answer = ask<wire::Answer>(query);
  if (!answer || answer->decisions.size() != 1) {
    throw std::runtime_error("no answer");
  }
  return answer->decisions[0];
}

nlohmann::json TestClient::admin(const nlohmann::json& request) {
  send(wire::AdminRequest{request.dump()});
  nlohmann::json rows = nlohmann::json::array();
  while (true) {
    const auto message = receive();
    if (!message) {
      return {{"error", "no reply"}};
    }
    if (const auto* error = std::get_if<wire::ErrorMessage>(&*message)) {
      return {{"error", error->message}};
    }
    const auto* piece = std::get_if<wire::AdminReply>(&*message);
    if (piece == nullptr) {
      return {{"error", "another message"}};
    }
    auto reply = nlohmann::json::parse(piece->json);
    if (reply.contains("rows")) {
      rows.insert(rows.end(), reply["rows"].begin(), reply["rows"].end());
      reply["rows"] = rows;
    }
    if (!piece->more) {
      return reply;
    }
  }
}

bool TestClient::closed() {
  while (receive()) {
  }
  pollfd ready{fd_, POLLIN, 0};
  std::byte byte{};
  return ::poll(&ready, 1, 0) > 0 && ::recv(fd_, &byte, 1, 0) <= 0;
}

core::Context recorded_context() {
  return {{"NVIDIA H200", 90, 132}, 91900};
}

std::string sample_problem(int channels, int filters) {
  return fmt::format("fwd f16 nhwc n32 c{} h56 w56 k{} r3 s3 pad1 str1 dil1 grp1",
                     channels,
                     filters == 0 ? channels : filters);
}

std::string sample_line(int channels, double best_us, int filters) {
  return fmt::format(
      R"({{"schema":"reformer-measurements/1","device":"NVIDIA H200","sm":90,"sm_count":132,)"
      R"("cudnn":91900,"problem":{{"op":"conv_fwd","dtype":"f16","compute":"f32","layout":"nhwc",)"
      R"("n":32,"c":{0},"h":56,"w":56,"k":{3},"r":3,"s":3,"pad":[1,1],"stride":[1,1],)"
      R"("dilation":[1,1],"groups":1,"alignment":16}},"candidates":[)"
      R"({{"engine":57,"knobs":{{"2":1}},"rank":{{"a":0}},"workspace":0,"numerical_notes":[0],)"
      R"("behavior_notes":[],"build_us":2.0,"time_us":{1},"timing":"graph_median7","spread":0.01}},)"
      R"({{"engine":25,"knobs":{{}},"rank":{{"a":1}},"workspace":4096,"numerical_notes":[],)"
      R"("behavior_notes":[],"build_us":2.0,"time_us":{2},"timing":"graph_median7","spread":0.01}}]}})",
      channels,
      best_us,
      best_us * 2,
      filters == 0 ? channels : filters);
}

}  // namespace reformer::testing
