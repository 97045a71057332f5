#include "cli/ablate_data.h"

#include "cli/reply.h"
#include "cli/train_data.h"
#include "cli/units.h"
#include "model/folds.h"
#include "model/random.h"

#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <numeric>
#include <ostream>
#include <unordered_set>

namespace reformer::cli {
namespace {

// Unlike any seed of a training: train_model() splits the rest by shape again, and with an equal
// seed its validation shapes would all be among the held-out ones.
constexpr std::uint64_t kSplitSeed = 0x61626c617465ULL;

void multiply_times(core::Record& record, double width, std::uint64_t seed) {
  std::uint64_t key = 0;
  std::memcpy(&key, core::hash_key(record.key).bytes.data(), sizeof key);
  model::Random random(key ^ model::Random::mix(seed));
  for (core::Candidate& candidate : record.candidates) {
    const double factor = std::exp(width * random.normal());
    if (candidate.timed()) {
      candidate.time_us = static_cast<float>(candidate.time_us * factor);
    }
  }
}

}  // namespace

AblateData::AblateData(Session& session, std::vector<std::string> files, double held_out_share)
    : session_(session), files_(std::move(files)) {
  std::size_t left_out = 0;
  const Reading reading = read_measurements(session_, files_, [&](const core::Record& record) {
    left_out += corpus_.add(record) == model::Corpus::Added::kYes ? 0 : 1;
  });
  rejected_ = reading.rejected;
  std::vector<std::size_t> all(corpus_.problems().size());
  std::iota(all.begin(), all.end(), std::size_t{0});
  model::Split split = model::split_by_shape(corpus_, all, held_out_share, kSplitSeed);
  training_ = std::move(split.train);
  read_held_out(split.held_out);
  *session_.err << fmt::format(
      "{} problems to train on, {} of other shapes to compare on; {} records left out (there "
      "twice, "
      "nothing timed, another GPU or cuDNN)\n",
      human_count(training_.size()),
      human_count(held_out_.size()),
      human_count(left_out));
  if (held_out_.empty()) {
    throw Failure(kExitFailed, "no problem left to compare on: too few shapes in these files");
  }
}

void AblateData::read_held_out(std::span<const std::size_t> indices) {
  std::unordered_set<core::KeyHash, core::KeyHasher> wanted;
  for (const std::size_t index : indices) {
    wanted.insert(corpus_.problems()[index].key);
  }
  std::ostream nowhere(nullptr);  // what is wrong with the files was said in the first reading
  Session quiet = session_;
  quiet.err = &nowhere;
  read_measurements(quiet, files_, [&](const core::Record& record) {
    if (core::fastest(record) != nullptr && wanted.erase(core::hash_key(record.key)) > 0) {
      held_out_.push_back(record);
      shapes_.push_back(model::shape_hash(record.key.problem));
    }
  });
}

model::Corpus AblateData::noisy(double width, std::uint64_t seed) const {
  std::ostream nowhere(nullptr);
  Session quiet = session_;
  quiet.err = &nowhere;
  model::Corpus corpus;
  read_measurements(quiet, files_, [&](const core::Record& record) {
    core::Record changed = record;
    multiply_times(changed, width, seed);
    corpus.add(changed);
  });
  return corpus;
}

}  // namespace reformer::cli
