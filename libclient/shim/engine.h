#pragma once

#include "libclient/shim/descriptors.h"
#include "libclient/shim/libcudnn.h"

#include <cstdint>
#include <vector>

// Building cuDNN's descriptors for an answer.
namespace reformer::shim {

// Makes the engine of an entry and keeps it in `served`. False if cuDNN refuses it. Engines that
// are compiled at run time are refused no earlier than with their configuration, so for those one
// is made and thrown away.
[[nodiscard]] bool try_entry(const RealCudnn& real, Served& served, std::size_t entry);

// Turns the application's unfinalised ENGINECFG into an entry. False if cuDNN refuses; the
// descriptor is then still unfinalised and, unless the entry was measured, as it was: one that was
// given more knobs than another entry has takes that entry no more, so what may be refused is tried
// in a descriptor of its own first.
[[nodiscard]] bool build_entry(const RealCudnn& real,
                               Served& served,
                               std::size_t entry,
                               cudnnBackendDescriptor_t configuration);

// What cuDNN's own heuristics list for the graph, by a query of their own; empty if they fail.
// Takes as long as the application's query would.
[[nodiscard]] std::vector<core::EngineConfig> own_list(const RealCudnn& real,
                                                       const Served& served,
                                                       std::int64_t mode);

}  // namespace reformer::shim
