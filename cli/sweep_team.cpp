#include "cli/sweep_team.h"

#include <fmt/format.h>

#include <pthread.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <new>
#include <thread>

namespace reformer::cli {
namespace {

using namespace std::chrono_literals;

constexpr auto kLook = 100ms;
constexpr auto kMeetingLook = 5ms;

}  // namespace

// Lives in memory that all processes share.
struct Team::Shared {
  pthread_mutex_t gpu{};
  cudnn::Pace pace;  // guarded by `gpu`
  std::atomic<std::size_t> done = 0;
  std::atomic<std::size_t> failed = 0;
  std::atomic<bool> broken = false;  // a member is gone before its time
  std::atomic<std::size_t> arrivals = 0;
};

core::Result<Team> Team::make(std::size_t members) {
  void* const memory =
      ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    return core::make_error(core::ErrorCode::kExhausted, "no memory that processes share");
  }
  Team team(members);
  team.shared_ = std::shared_ptr<Shared>(new (memory) Shared, [](Shared* shared) {
    (void)::munmap(shared, sizeof(Shared));  // others may still use theirs
  });
  pthread_mutexattr_t attributes;
  (void)pthread_mutexattr_init(&attributes);
  (void)pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  (void)pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  const int made = pthread_mutex_init(&team.shared_->gpu, &attributes);
  (void)pthread_mutexattr_destroy(&attributes);
  if (made != 0) {
    return core::make_error(core::ErrorCode::kUnavailable, "no lock that processes share");
  }
  return team;
}

Team::Counts Team::counts() const {
  return {shared_->done.load(), shared_->failed.load()};
}

void Team::count(bool good) {
  (good ? shared_->done : shared_->failed).fetch_add(1);
}

bool Team::meet(const std::atomic<bool>& interrupted) {
  const std::size_t expected = ++meetings_ * members_;
  shared_->arrivals.fetch_add(1);
  while (shared_->arrivals.load() < expected) {
    if (shared_->broken || interrupted) {
      return false;
    }
    std::this_thread::sleep_for(kMeetingLook);
  }
  return true;
}

std::shared_ptr<cudnn::Pace> Team::pace() const {
  return {shared_, &shared_->pace};
}

Team::Turn::Turn(Team& team) : team_(team) {
  if (pthread_mutex_lock(&team_.shared_->gpu) == EOWNERDEAD) {
    (void)pthread_mutex_consistent(&team_.shared_->gpu);
  }
}

Team::Turn::~Turn() {
  (void)pthread_mutex_unlock(&team_.shared_->gpu);
}

int Team::run(const std::function<int(std::size_t)>& work,
              const std::function<void()>& watch,
              const std::atomic<bool>& interrupted,
              int exit_of_dead) {
  if (alone()) {
    return work(0);
  }
  std::fflush(nullptr);  // or the members would write it again
  const pid_t parent = ::getpid();
  std::vector<int> children;
  for (std::size_t member = 0; member < members_; ++member) {
    const pid_t child = ::fork();
    if (child == 0) {
      (void)::prctl(PR_SET_PDEATHSIG, SIGTERM);
      const int result = ::getppid() == parent ? work(member) : exit_of_dead;
      std::fflush(nullptr);
      ::_exit(result);
    }
    if (child < 0) {
      fmt::print(stderr, "reformerctl sweep: no more processes\n");
      shared_->broken = true;
      break;
    }
    children.push_back(child);
  }
  const int result = wait_for(children, watch, interrupted, exit_of_dead);
  return children.size() == members_ ? result : exit_of_dead;
}

int Team::wait_for(std::span<const int> children,
                   const std::function<void()>& watch,
                   const std::atomic<bool>& interrupted,
                   int exit_of_dead) {
  int result = 0;
  bool told = false;
  std::vector<int> left(children.begin(), children.end());
  while (!left.empty()) {
    if (interrupted && !told) {
      told = true;
      for (const int child : left) {
        (void)::kill(child, SIGTERM);
      }
    }
    std::erase_if(left, [&](int child) {
      int status = 0;
      if (::waitpid(child, &status, WNOHANG) == 0) {
        return false;
      }
      const int code = WIFEXITED(status) ? WEXITSTATUS(status) : exit_of_dead;
      if (WIFSIGNALED(status)) {
        fmt::print(stderr, "\nreformerctl sweep: a process died: signal {}\n", WTERMSIG(status));
      }
      if (code != 0) {
        shared_->broken = true;
        result = result != 0 ? result : code;
      }
      return true;
    });
    watch();
    if (!left.empty()) {
      std::this_thread::sleep_for(kLook);
    }
  }
  return result;
}

}  // namespace reformer::cli
