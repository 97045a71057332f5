#pragma once

#include "libclient/shim/descriptors.h"
#include "libclient/shim/libcudnn.h"

namespace reformer::shim {

[[nodiscard]] bool is_rarely_listed(const core::DecisionEntry& entry);
[[nodiscard]] bool is_far_behind(const core::DecisionEntry& entry);

// Sets which entries of `served.answer` are offered, best first.
//
// A model ranks configurations that it has seen with other problems, and some of them hold a split
// or a grid that cuDNN chooses for each problem (the note kRarelyListed). cuDNN runs nearly all of
// them, whether its heuristics would list them or not, and refuses the others when the
// configuration is made. Applications take the first entry that they do not refuse, so where such a
// one begins an answer it is tried: the first entry and, in f32, the first without tensor cores and
// the first of those that is deterministic (core::kF32Refusals). What cuDNN refuses is left out. If
// that is the first entry, those go too that are expected to take more than twice its time
// (kFarBehind); if it begins what those take who refuse something, all that they could take: it may
// be any number of times slower, and cuDNN's own list follows. Other entries are tried when they
// are used.
//
// Threads: `served` is not published yet.
void set_offered(const RealCudnn& real, Served& served);

// PyTorch with benchmark=True times the first ten configurations of heuristic INSTANT and, where
// there are fewer, of FALLBACK after them, which are up to thousands of times slower. So for each
// framework's filter the offered entries are filled up to ten that pass it: those of them that are
// cheap to build and not far behind, or the first that is cheap, are offered again in turn.
void offer_enough_for_a_search(core::DataType input, Served& served);

}  // namespace reformer::shim
