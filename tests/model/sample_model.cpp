#include "tests/model/sample_model.h"

#include "model/model_file.h"

#include <boost/test/unit_test.hpp>

#include <stdlib.h>

#include <cmath>
#include <numeric>
#include <system_error>

namespace reformer::model::testing {

double number(std::uint64_t stream, std::uint64_t i) {
  auto x = static_cast<std::uint32_t>(i * 1103515245 + stream * 2654435761 + 12345);
  x = (x ^ (x >> 15)) * 2246822519U;
  return static_cast<double>(x >> 16) / 32768 - 1;
}

std::vector<float> numbers(std::uint64_t stream, std::size_t count, double scale) {
  std::vector<float> values;
  for (std::size_t i = 0; i < count; ++i) {
    values.push_back(static_cast<float>(scale * number(stream, i)));
  }
  return values;
}

core::Context sample_context() {
  return {.device = {"NVIDIA H200", 90, 132}, .cudnn_version = 91900};
}

core::Problem problem(const std::string& text) {
  const auto parsed = core::parse_problem(text);
  BOOST_REQUIRE_MESSAGE(parsed.ok(), text);
  return *parsed;
}

core::EngineConfig config(std::int32_t engine) {
  core::EngineConfig result(engine);
  (void)result.add_knob({2, engine % 3});
  return result;
}

core::Candidate timed(std::int32_t engine,
                      float time_us,
                      std::int16_t rank_a,
                      std::int16_t rank_b) {
  core::Candidate candidate;
  candidate.config = config(engine);
  candidate.rank_a = rank_a;
  candidate.rank_b = rank_b;
  candidate.timing = core::Timing::kGraphMedian;
  candidate.samples = 7;
  candidate.time_us = time_us;
  candidate.build_us = 5;
  return candidate;
}

core::Record record(const std::string& problem_text, std::vector<core::Candidate> candidates) {
  core::Record result;
  result.key = {sample_context(), problem(problem_text)};
  result.candidates = std::move(candidates);
  return result;
}

core::Record made_up_record(std::uint32_t n) {
  const auto pick = [n](std::uint64_t stream, std::uint32_t choices) {
    return static_cast<std::uint32_t>((number(stream, n) + 1) / 2 * choices);
  };
  const std::uint32_t channels = 8U << pick(11, 6);
  const std::uint32_t filters = 16U << pick(12, 5);
  const std::uint32_t image = 7 + 3 * pick(13, 16);
  const std::uint32_t batch = 1U << pick(14, 7);
  const bool nhwc = pick(15, 2) == 0;
  const std::string text = std::string("fwd ") + (nhwc ? "f16 nhwc" : "f32 nchw") + " n" +
                           std::to_string(batch) + " c" + std::to_string(channels) + " h" +
                           std::to_string(image) + " w" + std::to_string(image + n % 5) + " k" +
                           std::to_string(filters) + " r3 s3 pad1";
  const double work = std::log2(static_cast<double>(batch) * image * image * channels * filters);
  std::vector<core::Candidate> candidates;
  for (std::int32_t engine = 0; engine < 10; ++engine) {
    if (pick(20 + static_cast<std::uint64_t>(engine), 8) == 0) {
      continue;  // does not run here
    }
    // Every engine has a size of work and a number of channels that it is best at.
    const double far_in_work = work - (16 + 1.5 * engine);
    const double far_in_channels = std::log2(channels) - (3 + (engine * 3) % 6);
    const double slowdown = 1 + 0.02 * far_in_work * far_in_work +
                            0.05 * far_in_channels * far_in_channels + 0.01 * engine;
    const auto rank = static_cast<std::int16_t>((engine + 5) % 10);
    candidates.push_back(timed(engine,
                               static_cast<float>(std::exp2(work - 16) * slowdown),
                               rank,
                               static_cast<std::int16_t>(9 - engine)));
    // Of f32 too: every third engine uses tensor cores.
    candidates.back().numerical_notes = engine % 3 == 0 ? core::numerical_note::kTensorCore : 0;
  }
  return record(text, std::move(candidates));
}

Corpus made_up_corpus(std::uint32_t problems) {
  Corpus corpus;
  for (std::uint32_t n = 0; n < problems; ++n) {
    (void)corpus.add(made_up_record(n));
  }
  return corpus;
}

std::vector<std::size_t> all_of(const Corpus& corpus) {
  std::vector<std::size_t> all(corpus.problems().size());
  std::iota(all.begin(), all.end(), std::size_t{0});
  return all;
}

ModelData fixed_ranking_model(std::size_t classes) {
  ModelData data;
  data.info.name = "fixed";
  data.info.block = "gamma";
  data.info.blocks = 1;
  data.info.target = "ratio";
  data.info.contexts = {sample_context()};
  data.info.classes = classes;
  data.info.metrics = {{"validation_problems", 3}};
  data.shape.block = BlockKind::kGamma;
  data.shape.widths = {{4, 4}};
  data.shape.embedding = 4;
  for (std::size_t i = 0; i < classes; ++i) {
    KernelClass kernel;
    kernel.entry.config = config(static_cast<std::int32_t>(i));
    kernel.entry.build_us = 5;
    kernel.entry.workspace_bytes = static_cast<std::int64_t>(i) << 20;
    kernel.sightings = 3;
    data.classes.classes.push_back(kernel);
  }
  const core::Problem f32 = problem("fwd f32 nchw n1 c8 h8 w8 k8 r3 s3");
  for (const Combination& known : {combination_of(f32),
                                   combination_of(f32, View::kWithoutTensorCores),
                                   combination_of(f32, View::kDeterministic),
                                   combination_of(problem("fwd f16 nhwc n1 c8 h8 w8 k8 r3 s3"))}) {
    CombinationClasses combination;
    combination.combination = known;
    std::vector<std::uint32_t> rows;
    for (std::size_t i = 0; i < classes; ++i) {
      combination.classes.push_back(static_cast<std::int32_t>(i));
      rows.push_back(static_cast<std::uint32_t>(i));
    }
    data.classes.combinations.push_back(combination);
    data.combination_rows.push_back(rows);
  }
  const std::size_t inputs = input_width(4);
  data.trunk.assign(inputs * 4 + 4 + 4 * 4 + inputs * 4 + 4, 0.0F);
  for (std::size_t i = 0; i < classes; ++i) {
    data.rows.insert(data.rows.end(), {0, 0, 0, 0, -static_cast<float>(i)});
  }
  Calibration& c = data.calibration;
  c.hidden_weights.assign(kJudgeInputs * kJudgeHidden, 0.0F);
  c.hidden_bias.assign(kJudgeHidden, 0.0F);
  c.output_weights.assign(kJudgeHidden * kJudgeOutputs, 0.0F);
  c.output_bias = {0, 0, 1};  // heuristic A is expected to be e times as slow
  TimeNetwork& t = data.times;
  t.hidden1_weights.assign(kTimeInputs * kTimeHidden[0], 0.0F);
  t.hidden1_bias.assign(kTimeHidden[0], 0.0F);
  t.hidden2_weights.assign(kTimeHidden[0] * kTimeHidden[1], 0.0F);
  t.hidden2_bias.assign(kTimeHidden[1], 0.0F);
  t.output_weights.assign(kTimeHidden[1], 0.0F);
  t.output_bias = 3;
  data.seen_shapes = {7, 9};
  return data;
}

void run_inline(std::size_t count, const std::function<void(std::size_t)>& body) {
  for (std::size_t i = 0; i < count; ++i) {
    body(i);
  }
}

TemporaryFolder::TemporaryFolder() {
  std::string name = (std::filesystem::temp_directory_path() / "reformer-model-XXXXXX").string();
  BOOST_REQUIRE(::mkdtemp(name.data()) != nullptr);
  path_ = name;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::shared_ptr<const Predictor> predictor_of(const ModelData& data) {
  const TemporaryFolder folder;
  BOOST_REQUIRE(write_model(data, folder.file("model")).ok());
  const auto loaded = Predictor::load(folder.file("model"));
  BOOST_REQUIRE_MESSAGE(loaded.ok(), (loaded.ok() ? "" : loaded.error().message));
  return *loaded;
}

}  // namespace reformer::model::testing
