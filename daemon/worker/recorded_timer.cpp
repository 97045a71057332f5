#include "daemon/worker/recorded_timer.h"

#include "core/problem_text.h"
#include "interchange/measurements.h"

#include <algorithm>
#include <cstdio>
#include <utility>

namespace reformer::worker {

core::Status RecordedTimer::load(const std::atomic<bool>& cancelled) {
  for (const std::filesystem::path& file : files_) {
    auto reader = interchange::MeasurementReader::open(file);
    if (!reader) {
      return reader.error();
    }
    while (true) {
      if (cancelled) {
        records_.clear();
        contexts_.clear();
        return core::make_error(core::ErrorCode::kDenied, "cancelled while reading");
      }
      auto record = reader.value()->next();
      if (!record) {
        std::fprintf(stderr, "reformer-worker: %s\n", record.error().message.c_str());
        if (reader.value()->broken()) {
          break;
        }
        continue;
      }
      if (!record->has_value()) {
        break;
      }
      core::Record& found = **record;
      if (std::find(contexts_.begin(), contexts_.end(), found.key.context) == contexts_.end()) {
        contexts_.push_back(found.key.context);
      }
      found.provenance.source = "recorded";
      const core::KeyHash hash = core::hash_key(found.key);
      const auto known = records_.find(hash);
      if (known == records_.end()) {
        records_.emplace(hash, std::move(found));
      } else if (core::better_founded(found, known->second)) {
        known->second = std::move(found);
      }
    }
  }
  loaded_ = true;
  return core::ok_status();
}

core::Result<core::Record> RecordedTimer::measure(const Job& job,
                                                  const std::atomic<bool>& cancelled) {
  if (!loaded_) {
    if (const core::Status done = load(cancelled); !done) {
      return done.error();
    }
  }
  for (const core::Context& context : contexts_) {
    if (job.context && *job.context != context) {
      continue;
    }
    const auto found = records_.find(core::hash_key({context, job.problem}));
    if (found != records_.end() && found->second.key.problem == job.problem) {
      return found->second;
    }
  }
  return core::make_error(core::ErrorCode::kUnavailable,
                          core::format_problem(job.problem) + " is not among the recorded");
}

}  // namespace reformer::worker
