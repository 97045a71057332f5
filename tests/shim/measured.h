#pragma once

#include "core/decision.h"
#include "core/record.h"

#include <map>
#include <string>

namespace reformer::test {

// The shipped measurements of the H200, by problem text; read at the first call.
const std::map<std::string, core::Record>& shipped_records();

// What a daemon with those measurements answers; an abstention for other problems.
core::Decision measured_decision(const core::Context& context, const core::Problem& problem);

}  // namespace reformer::test
