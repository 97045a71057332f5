#pragma once

#include "cli/reply.h"

#include <string>

namespace reformer::cli {

// A measured record, as `show` and `verify --wait` print it.
void print_record(Session& session, const Json& record);

// A decision, as `query` and `explain` print it: what an application would be told.
void print_decision(Session& session, const Json& decision);

// The notes of an engine in short words: "tensor-core, nondeterministic". Takes a list of names, of
// cuDNN's numbers, or a bit mask.
[[nodiscard]] std::string numerical_notes_text(const Json& notes);

}  // namespace reformer::cli
