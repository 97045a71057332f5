#pragma once

#include "core/record.h"
#include "interchange/measurements.h"

#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace reformer::bench {

// As many records as one wants: the recorded ones (data/h200-networks.jsonl.zst), repeated under
// other batch sizes with every time moved by a few per cent, so that they are as hard to compress
// as real ones.
class SyntheticRecords {
 public:
  SyntheticRecords() {
    auto reader =
        interchange::MeasurementReader::open(REFORMER_SOURCE_DIR "/data/h200-networks.jsonl.zst");
    while (reader.ok()) {
      auto record = (*reader)->next();
      if (!record.ok() || !record->has_value()) {
        break;
      }
      recorded_.push_back(**std::move(record));
    }
  }
  [[nodiscard]] core::Key key(std::uint64_t number) const {
    core::Key key = recorded_[number % recorded_.size()].key;
    const auto round = static_cast<std::int64_t>(number / recorded_.size());
    key.problem.x.dims[0] += 256 * round;  // the outermost axis: no stride depends on it
    key.problem.y.dims[0] = key.problem.x.dims[0];
    return key;
  }
  [[nodiscard]] core::Record record(std::uint64_t number) const {
    core::Record record = recorded_[number % recorded_.size()];
    record.key = key(number);
    std::mt19937_64 random(number);
    std::normal_distribution<double> noise(1, 0.05);
    for (core::Candidate& candidate : record.candidates) {
      candidate.time_us = static_cast<float>(candidate.time_us * std::abs(noise(random)));
      candidate.build_us = static_cast<float>(candidate.build_us * std::abs(noise(random)));
    }
    record.provenance.measured_at_s = 1'700'000'000 + static_cast<std::int64_t>(number);
    return record;
  }

 private:
  std::vector<core::Record> recorded_;
};

}  // namespace reformer::bench
