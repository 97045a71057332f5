#pragma once

#include "core/problem_text.h"
#include "core/record.h"
#include "model/corpus.h"
#include "model/model_data.h"
#include "model/predictor.h"
#include "model/trainer.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

// Records, corpora and models for the tests of model/: small, and the same at every call.
namespace reformer::model {

// For Boost.Test, which prints what a test case is about.
inline std::ostream& operator<<(std::ostream& out, BlockKind kind) {
  return out << to_string(kind);
}
inline std::ostream& operator<<(std::ostream& out, TargetKind kind) {
  return out << to_string(kind);
}
inline std::ostream& operator<<(std::ostream& out, HeadKind kind) {
  return out << (kind == HeadKind::kPlain ? "plain" : "generated");
}

namespace testing {

// golden.py's number(): in [-1, 1), exact in float.
[[nodiscard]] double number(std::uint64_t stream, std::uint64_t i);
// Consecutive numbers of a stream, scaled.
[[nodiscard]] std::vector<float> numbers(std::uint64_t stream, std::size_t count, double scale);

[[nodiscard]] core::Context sample_context();
[[nodiscard]] core::Problem problem(const std::string& text);
[[nodiscard]] core::EngineConfig config(std::int32_t engine);

// A candidate that is timed, at the given positions in heuristic A's and B's lists.
[[nodiscard]] core::Candidate timed(std::int32_t engine,
                                    float time_us,
                                    std::int16_t rank_a = core::kNoRank,
                                    std::int16_t rank_b = core::kNoRank);
[[nodiscard]] core::Record record(const std::string& problem_text,
                                  std::vector<core::Candidate> candidates);

// A made-up GPU with ten engines whose times follow from the problem, so that there is something to
// learn: which is fastest depends on channels, image and batch.
[[nodiscard]] core::Record made_up_record(std::uint32_t number);
[[nodiscard]] Corpus made_up_corpus(std::uint32_t problems);
[[nodiscard]] std::vector<std::size_t> all_of(const Corpus& corpus);

// A model of engines 0, 1, 2, ... that ranks them in that order whatever the problem is, for
// forward f16 nhwc and f32 nchw; confidence 0.5, never abstains.
[[nodiscard]] ModelData fixed_ranking_model(std::size_t classes);

// Runs the body on this thread, in order.
void run_inline(std::size_t count, const std::function<void(std::size_t)>& body);

class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  [[nodiscard]] std::filesystem::path file(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

// Through a file, as there is no other way.
[[nodiscard]] std::shared_ptr<const Predictor> predictor_of(const ModelData& data);

}  // namespace testing
}  // namespace reformer::model
