#pragma once

#include "libclient/shim/descriptors.h"
#include "libclient/shim/engine.h"
#include "libclient/shim/libcudnn.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

namespace reformer::shim {

// Which entries of an answer may be offered, where that is for cuDNN to say.
//
// Some configurations hold a split or a grid that cuDNN chooses for each problem; a model ranks
// those that it has seen with others (the note kRarelyListed). cuDNN mostly runs them all the same,
// but slower than its own choice, or not at all where the model would have ranked another engine
// first. So an answer that begins with one is held against cuDNN's own list, once a process:
// entries with the note that it lacks are left out, and where the first is among them, also those
// that are expected to take more than twice its time (kFarBehind). In f32 an answer has three
// beginnings: its first entry, the first without tensor cores, and the first of those that is
// deterministic. Where one of the latter is left out, all entries behind it of its kind are.
//
// Of other types, where the first was to be run without compiling anything and what would be taken
// in its stead is compiled at run time, cuDNN's own choice for the same engine stands in for it.
//
// Threads: any; no lock is held across a call of cuDNN.
class Listing {
 public:
  // Sets what of `served.answer` is offered, best first: all of it where no beginning has such a
  // note, or cuDNN does not give its list. Where something stands in for the first entry,
  // `served.answer` is set to a copy that has it as its last entry, kept as long as this. `mode`:
  // of the application's query.
  void set_offered(const RealCudnn& real, Served& served, std::int64_t mode);

  // Around a fork.
  void lock() { mutex_.lock(); }
  void unlock() { mutex_.unlock(); }

 private:
  struct Offer {
    std::unique_ptr<const client::Answer> with_stand_in;  // may be null
    std::vector<std::size_t> entries;
  };
  static Offer check(const Served& served, const std::vector<Listed>& listed);

  std::mutex mutex_;
  std::unordered_map<const client::Answer*, Offer> known_;
};

}  // namespace reformer::shim
