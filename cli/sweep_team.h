#pragma once

#include "core/result.h"
#include "cudnn/pace.h"

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <vector>

namespace reformer::cli {

// The processes of one sweep. cuDNN and the driver build the plans of one process nearly one at a
// time, so that two processes build twice as many; on the GPU they take turns, because kernels of
// two contexts would share it. The first process only waits for the others and shows how far they
// are. A team of one has no other process.
//
// Threads: one in each process.
class Team {
 public:
  // Errors: no memory to share.
  static core::Result<Team> make(std::size_t members);

  struct Counts {
    std::size_t done = 0;
    std::size_t failed = 0;
  };

  // Runs work(member) in every process, before CUDA has been touched in this one, and
  // watch(counts) in this one about every 100 ms; `interrupted` ends the members. What the first
  // failed member returned, else 0; a member that died of a signal is said on stderr, and counts as
  // failed. What it had not written is missing then.
  int run(const std::function<int(std::size_t)>& work,
          const std::function<void()>& watch,
          const std::atomic<bool>& interrupted,
          int exit_of_dead);

  [[nodiscard]] std::size_t members() const { return members_; }
  [[nodiscard]] bool alone() const { return members_ == 1; }
  [[nodiscard]] Counts counts() const;
  void count(bool good);

  // In a member: waits until every member has come to this place. False if one of them is gone.
  [[nodiscard]] bool meet(const std::atomic<bool>& interrupted);

  // What the members have seen of engines. For the one whose turn it is.
  [[nodiscard]] std::shared_ptr<cudnn::Pace> pace() const;

  // A member's turn on the GPU. That of a member that died passes on.
  class Turn {
   public:
    explicit Turn(Team& team);
    ~Turn();
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

   private:
    Team& team_;
  };

 private:
  struct Shared;
  explicit Team(std::size_t members) : members_(members) {}
  [[nodiscard]] int wait_for(std::span<const int> children,
                             const std::function<void()>& watch,
                             const std::atomic<bool>& interrupted,
                             int exit_of_dead);

  std::size_t members_;
  std::size_t meetings_ = 0;  // this member has been to
  std::shared_ptr<Shared> shared_;
};

}  // namespace reformer::cli
