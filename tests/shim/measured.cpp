#include "tests/shim/measured.h"

#include "core/problem_text.h"
#include "interchange/measurements.h"

#include <utility>

namespace reformer::test {

const std::map<std::string, core::Record>& shipped_records() {
  static const std::map<std::string, core::Record> all = [] {
    std::map<std::string, core::Record> read;
    auto reader =
        interchange::MeasurementReader::open(REFORMER_SOURCE_DIR "/data/h200-networks.jsonl.zst");
    while (reader) {
      auto record = reader.value()->next();
      if (!record || !record->has_value()) {
        break;
      }
      std::string text = core::format_problem((*record)->key.problem);
      read.emplace(std::move(text), std::move(**record));
    }
    return read;
  }();
  return all;
}

core::Decision measured_decision(const core::Context&, const core::Problem& problem) {
  const auto found = shipped_records().find(core::format_problem(problem));
  return found == shipped_records().end() ? core::Decision{}
                                          : core::decide_measured(found->second, {}, {}, 8);
}

}  // namespace reformer::test
