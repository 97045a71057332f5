#include "bench/load.h"

#include <fmt/core.h>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <filesystem>
#include <fstream>
#include <thread>
#include <utility>

namespace reformer::bench {
namespace {

namespace wire = core::wire;

[[noreturn]] void die(const char* what) {
  std::perror(what);
  std::exit(1);
}

}  // namespace

double percentile(std::vector<double>& times, double share) {
  if (times.empty()) {
    return std::nan("");
  }
  std::sort(times.begin(), times.end());
  const auto index = static_cast<std::size_t>(share * static_cast<double>(times.size()));
  return times[std::min(index, times.size() - 1)];
}

RawConnection::RawConnection(const std::string& path)
    : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
  if (fd_ < 0 || ::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    die(path.c_str());
  }
}
RawConnection::RawConnection(RawConnection&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
RawConnection::~RawConnection() {
  if (fd_ >= 0) {
    ::close(fd_);
  }
}

void RawConnection::send(const std::vector<std::byte>& bytes) const {
  for (std::size_t done = 0; done < bytes.size();) {
    const ssize_t sent = ::send(fd_, bytes.data() + done, bytes.size() - done, MSG_NOSIGNAL);
    if (sent <= 0) {
      die("send");
    }
    done += static_cast<std::size_t>(sent);
  }
}

void RawConnection::receive(std::size_t bytes) const {
  std::byte buffer[65536];
  while (bytes > 0) {
    const ssize_t got = ::recv(fd_, buffer, std::min(bytes, sizeof buffer), 0);
    if (got <= 0) {
      die("recv");
    }
    bytes -= static_cast<std::size_t>(got);
  }
}

std::vector<std::byte> RawConnection::receive_frame() const {
  std::vector<std::byte> frame(wire::kHeaderBytes);
  const auto fill = [&](std::size_t from) {
    while (from < frame.size()) {
      const ssize_t got = ::recv(fd_, frame.data() + from, frame.size() - from, 0);
      if (got <= 0) {
        die("recv");
      }
      from += static_cast<std::size_t>(got);
    }
  };
  fill(0);
  const auto header = wire::decode_header(frame);
  frame.resize(wire::kHeaderBytes + (*header)->payload_bytes);
  fill(wire::kHeaderBytes);
  return frame;
}

RawConnection greet(const std::string& socket) {
  RawConnection connection(socket);
  std::vector<std::byte> bytes;
  wire::encode(wire::Hello{1, "libreformer bench", "serving_bench"}, 1, bytes);
  wire::encode(wire::ContextMessage{{{"NVIDIA H200", 90, 132}, 91900}, "", -1}, 2, bytes);
  connection.send(bytes);
  (void)connection.receive_frame();
  (void)connection.receive_frame();
  return connection;
}

std::vector<std::byte> query_frame(const std::vector<core::Problem>& problems, std::uint32_t id) {
  wire::Query query;
  query.max_entries = core::kMaxDecisionEntries;
  query.verify_miss = false;
  query.problems = problems;
  std::vector<std::byte> bytes;
  wire::encode(query, id, bytes);
  return bytes;
}

double cpu_seconds(pid_t pid) {
  // The scheduler's own account of every thread, in nanoseconds: utime and stime count in ticks.
  double ns = 0;
  const std::string tasks = "/proc/" + std::to_string(pid) + "/task";
  FILE* list = ::popen(("cat " + tasks + "/*/schedstat 2>/dev/null").c_str(), "r");
  double run = 0;
  double waited = 0;
  while (list != nullptr && std::fscanf(list, "%lf %lf %*d", &run, &waited) == 2) {
    ns += run;
  }
  if (list != nullptr) {
    ::pclose(list);
  }
  return ns / 1e9;
}

std::vector<int> processors() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  std::vector<int> found;
  if (::sched_getaffinity(0, sizeof allowed, &allowed) == 0) {
    for (int i = 0; i < CPU_SETSIZE; ++i) {
      if (CPU_ISSET(i, &allowed)) {
        found.push_back(i);
      }
    }
  }
  return found;
}

Pinned::Pinned(pid_t pid, int processor) {
  std::vector<pid_t> threads;
  if (pid == 0) {
    threads.push_back(::gettid());
  } else {
    for (const auto& entry :
         std::filesystem::directory_iterator(fmt::format("/proc/{}/task", pid))) {
      threads.push_back(std::stoi(entry.path().filename().string()));
    }
  }
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(static_cast<std::size_t>(processor), &one);
  for (const pid_t thread : threads) {
    cpu_set_t before;
    if (::sched_getaffinity(thread, sizeof before, &before) == 0 &&
        ::sched_setaffinity(thread, sizeof one, &one) == 0) {
      before_.emplace_back(thread, before);
    }
  }
}

Pinned::~Pinned() {
  for (const auto& [thread, before] : before_) {
    (void)::sched_setaffinity(thread, sizeof before, &before);
  }
}

std::vector<double> times_of(int count, const std::function<void(int)>& call) {
  std::vector<double> times;
  times.reserve(static_cast<std::size_t>(count));
  for (int i = 0; i < count; ++i) {
    const auto start = Clock::now();
    call(i);
    times.push_back(us_since(start));
  }
  return times;
}

std::vector<double> open_loop(const std::vector<RawConnection>& connections,
                              double per_second,
                              int count,
                              const std::function<const std::vector<std::byte>&(int)>& frame) {
  struct Peer {
    std::deque<Clock::time_point> due;
    std::vector<std::byte> input;
  };
  std::vector<Peer> peers(connections.size());
  const int poll_fd = ::epoll_create1(EPOLL_CLOEXEC);
  for (std::size_t i = 0; i < connections.size(); ++i) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = i;
    ::epoll_ctl(poll_fd, EPOLL_CTL_ADD, connections[i].fd(), &event);
  }
  std::vector<double> times;
  const auto step =
      std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(1 / per_second));
  const auto begin = Clock::now();
  int sent = 0;
  std::byte buffer[65536];
  while (times.size() < static_cast<std::size_t>(count)) {
    while (sent < count && Clock::now() >= begin + step * sent) {
      const std::size_t which = static_cast<std::size_t>(sent) % connections.size();
      peers[which].due.push_back(begin + step * sent);
      connections[which].send(frame(sent));
      ++sent;
    }
    epoll_event events[64];
    const int ready = ::epoll_wait(poll_fd, events, 64, 0);
    for (int i = 0; i < ready; ++i) {
      Peer& peer = peers[events[i].data.u64];
      const ssize_t got = ::recv(connections[events[i].data.u64].fd(), buffer, sizeof buffer, 0);
      if (got <= 0) {
        die("recv");
      }
      const auto now = Clock::now();
      peer.input.insert(peer.input.end(), buffer, buffer + got);
      while (true) {
        const auto header = wire::decode_header(peer.input);
        if (!header || !*header ||
            peer.input.size() < wire::kHeaderBytes + (*header)->payload_bytes) {
          break;
        }
        peer.input.erase(peer.input.begin(),
                         peer.input.begin() + wire::kHeaderBytes + (*header)->payload_bytes);
        times.push_back(std::chrono::duration<double, std::micro>(now - peer.due.front()).count());
        peer.due.pop_front();
      }
    }
    if (ready <= 0) {
      std::this_thread::yield();
    }
  }
  ::close(poll_fd);
  return times;
}

Redis::Redis(const std::string& folder) : socket_(folder + "/redis") {
  pid_ = ::fork();
  if (pid_ == 0) {
    const int null = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
    ::dup2(null, STDOUT_FILENO);
    ::execlp("redis-server",
             "redis-server",
             "--unixsocket",
             socket_.c_str(),
             "--port",
             "0",
             "--save",
             "",
             "--appendonly",
             "no",
             "--dir",
             folder.c_str(),
             nullptr);
    ::_exit(127);
  }
  for (int i = 0; i < 500 && ::access(socket_.c_str(), F_OK) != 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  if (::access(socket_.c_str(), F_OK) != 0) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
}

Redis::~Redis() {
  if (pid_ > 0) {
    ::kill(pid_, SIGTERM);
    ::waitpid(pid_, nullptr, 0);
  }
}

}  // namespace reformer::bench
