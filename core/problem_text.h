#pragma once

#include "core/problem.h"

#include <string>
#include <string_view>

namespace reformer::core {

// The one compact text form of a problem, shared by the CLI, logs, docs and the worker protocol:
//
//   fwd f16 nhwc n32 c64 h56 w56 k64 r3 s3 pad1 str1 dil1 grp1
//
// Tokens are separated by blanks, commas or slashes, in any order, each at most once; operation,
// type, layout, n, c, h, w, k, r and s are required (h and r not for 1-D problems, which are 2-D
// ones of height 1). docs/problems.md has the grammar. format_problem prints canonical problems;
// parse_problem(format_problem(p)) == p.
[[nodiscard]] std::string format_problem(const Problem& problem);

// Errors: kInvalidArgument, naming the token. The result is canonical.
[[nodiscard]] Result<Problem> parse_problem(std::string_view text);

}  // namespace reformer::core
