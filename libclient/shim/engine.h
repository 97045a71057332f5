#pragma once

#include "libclient/shim/descriptors.h"
#include "libclient/shim/libcudnn.h"

#include <cstddef>

// Building cuDNN's descriptors for an answer.
namespace reformer::shim {

// All of them change `served`: once it is published, under its lock (Session::building()).

// Makes the engine of an entry and keeps it in `served`. False if cuDNN refuses it. Engines that
// are compiled at run time are refused no earlier than with their configuration, so for those one
// is made and thrown away.
[[nodiscard]] bool try_entry(const RealCudnn& real, Served& served, std::size_t entry);

// Makes an entry's configuration in a descriptor of the shim's own and throws it away, once a
// process: what came of it is remembered (Trials). False if cuDNN refuses it, which no source rules
// out: what was measured, too, was measured with another driver or in another process.
[[nodiscard]] bool try_configuration(const RealCudnn& real, Served& served, std::size_t entry);

// Turns the application's unfinalised ENGINECFG into an entry. False if cuDNN refuses; the
// descriptor then holds what it took of it, and takes no entry that has fewer knobs any more. So an
// entry is tried first.
[[nodiscard]] bool fill_configuration(const RealCudnn& real,
                                      Served& served,
                                      std::size_t entry,
                                      cudnnBackendDescriptor_t configuration);

}  // namespace reformer::shim
