// One prediction (features, network, ranked top 8, confidence) beside one question to cuDNN's own
// heuristics, in the same run: L = 1 to 5 Γ-blocks, MLP and transformer with all classes of the
// shipped measurements, the paper's configuration, and the shipped model; one problem at a time and
// in batches of 64; with warm caches and with cold ones (64 MiB of other memory in between); and
// the whole decision that the daemon makes of it.
//
// `inference_bench MODEL` measures that model only.
//
// Networks are trained for one epoch: their speed depends on widths and classes, not on weights.
#include "interchange/measurements.h"
#include "model/model_file.h"
#include "model/predictor.h"
#include "model/training_run.h"
#ifdef REFORMER_HAVE_CUDNN
#include "cudnn/library.h"
#include "cudnn/planner.h"
#endif

#include <benchmark/benchmark.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

namespace {

namespace core = reformer::core;
namespace model = reformer::model;

constexpr const char* kData = REFORMER_SOURCE_DIR "/data/h200-networks.jsonl.zst";
constexpr const char* kShipped = REFORMER_SOURCE_DIR "/data/h200.reformer";
constexpr std::size_t kRanked = 8;
constexpr std::size_t kBatch = 64;
constexpr std::size_t kColdQuestions = 300;

[[noreturn]] void give_up(const std::string& why) {
  std::fprintf(stderr, "inference_bench: %s\n", why.c_str());
  std::exit(1);
}

const model::Corpus& corpus() {
  static const model::Corpus read = [] {
    auto reader = reformer::interchange::MeasurementReader::open(kData);
    if (!reader) {
      give_up(reader.error().message);
    }
    model::Corpus result;
    while (true) {
      const auto record = (*reader)->next();
      if (!record) {
        give_up(record.error().message);
      }
      if (!record->has_value()) {
        return result;
      }
      (void)result.add(**record);
    }
  }();
  return read;
}

// Every problem of the measurements, in their order, which mixes operations, types and layouts.
const std::vector<core::Problem>& problems() {
  static const std::vector<core::Problem> all = [] {
    std::vector<core::Problem> result;
    for (const model::CorpusProblem& problem : corpus().problems()) {
      result.push_back(problem.problem);
    }
    return result;
  }();
  return all;
}

// The same, those of one operation, types and layout together.
const std::vector<core::Problem>& sorted_problems() {
  static const std::vector<core::Problem> sorted = [] {
    std::vector<core::Problem> result = problems();
    std::ranges::stable_sort(
        result, {}, [](const core::Problem& problem) { return model::combination_of(problem); });
    return result;
  }();
  return sorted;
}

std::shared_ptr<const model::Predictor> load(const std::filesystem::path& path) {
  auto predictor = model::Predictor::load(path);
  if (!predictor) {
    give_up(predictor.error().message);
  }
  return *predictor;
}

std::shared_ptr<const model::Predictor> train(model::TrainOptions options) {
  options.epochs = 1;
  options.folds = 0;
  std::vector<std::size_t> all(corpus().problems().size());
  std::iota(all.begin(), all.end(), std::size_t{0});
  const auto trained = model::train_model(
      corpus(),
      all,
      options,
      [](std::size_t count, const auto& body) {
        for (std::size_t i = 0; i < count; ++i) {
          body(i);
        }
      },
      [](const model::TrainProgress&) { return true; });
  if (!trained) {
    give_up(trained.error().message);
  }
  const std::filesystem::path file =
      std::filesystem::temp_directory_path() / ("inference_bench-" + std::to_string(::getpid()));
  if (const auto written = model::write_model(*trained, file); !written) {
    give_up(written.error().message);
  }
  auto predictor = load(file);
  std::filesystem::remove(file);
  return predictor;
}

void describe(benchmark::State& state, const model::Predictor& predictor) {
  state.counters["classes"] = static_cast<double>(predictor.info().classes);
  state.counters["parameters"] = static_cast<double>(predictor.info().parameters);
}

void one_at_a_time(benchmark::State& state, const model::Predictor& predictor) {
  model::Predictor::Scratch scratch(predictor);
  model::Ranking ranking;
  std::size_t i = 0;
  for (auto _ : state) {
    predictor.rank(problems()[i], kRanked, scratch, ranking);
    benchmark::DoNotOptimize(ranking);
    i = i + 1 < problems().size() ? i + 1 : 0;
  }
  describe(state, predictor);
}

// What a question that comes every few milliseconds sees: other work has been through the caches.
// Only the prediction is timed.
class CacheEvictor {
 public:
  CacheEvictor() : memory_(kBytes, 1) {}
  void run() {
    for (std::size_t i = 0; i < memory_.size(); i += 64) {
      memory_[i] = static_cast<char>(memory_[i] + 1);
    }
    benchmark::ClobberMemory();
  }

 private:
  static constexpr std::size_t kBytes = std::size_t{64} << 20;
  std::vector<char> memory_;
};

double timed_us(const auto& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start)
      .count();
}

void report_percentiles(benchmark::State& state, std::vector<double> us) {
  std::ranges::sort(us);
  state.counters["p50_us"] = us[us.size() / 2];
  state.counters["p99_us"] = us[us.size() * 99 / 100];
}

void with_cold_caches(benchmark::State& state, const auto& body) {
  CacheEvictor evictor;
  std::vector<double> us;
  std::size_t i = 0;
  for (auto _ : state) {
    evictor.run();
    us.push_back(timed_us([&] { body(problems()[i]); }));
    state.SetIterationTime(us.back() * 1e-6);
    i = (i + 1) % problems().size();
  }
  report_percentiles(state, std::move(us));
}

void one_cold(benchmark::State& state, const model::Predictor& predictor) {
  model::Predictor::Scratch scratch(predictor);
  model::Ranking ranking;
  with_cold_caches(state, [&](const core::Problem& problem) {
    predictor.rank(problem, kRanked, scratch, ranking);
    benchmark::DoNotOptimize(ranking);
  });
}

// The whole answer to a query, as the daemon makes it.
core::Decision decide(const model::Predictor& predictor,
                      const core::Problem& problem,
                      model::Predictor::Scratch& scratch) {
  constexpr std::size_t kEntries = 8;
  return predictor.decide(corpus().context(), problem, {}, {}, kEntries, kEntries, scratch);
}

void decide_cold(benchmark::State& state, const model::Predictor& predictor) {
  model::Predictor::Scratch scratch(predictor);
  with_cold_caches(state, [&](const core::Problem& problem) {
    benchmark::DoNotOptimize(decide(predictor, problem, scratch));
  });
}

void decide_one(benchmark::State& state, const model::Predictor& predictor) {
  model::Predictor::Scratch scratch(predictor);
  std::size_t i = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(decide(predictor, problems()[i], scratch));
    i = i + 1 < problems().size() ? i + 1 : 0;
  }
}

void in_batches(benchmark::State& state,
                const model::Predictor& predictor,
                const std::vector<core::Problem>& asked) {
  model::Predictor::Scratch scratch(predictor);
  std::vector<model::Ranking> rankings(kBatch);
  std::size_t first = 0;
  for (auto _ : state) {
    predictor.rank_batch(std::span(asked).subspan(first, kBatch), kRanked, scratch, rankings);
    benchmark::DoNotOptimize(rankings.data());
    first = first + 2 * kBatch <= asked.size() ? first + kBatch : 0;
  }
  state.counters["each"] = benchmark::Counter(
      static_cast<double>(kBatch),
      benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
  describe(state, predictor);
}

void add(const std::string& name, const std::shared_ptr<const model::Predictor>& predictor) {
  const auto add_one = [&name](const char* what, auto body) {
    benchmark::RegisterBenchmark((name + what).c_str(), body)->Unit(benchmark::kMicrosecond);
  };
  add_one("/one", [predictor](benchmark::State& state) { one_at_a_time(state, *predictor); });
  add_one("/batch_of_64_mixed",
          [predictor](benchmark::State& state) { in_batches(state, *predictor, problems()); });
  add_one("/batch_of_64_alike", [predictor](benchmark::State& state) {
    in_batches(state, *predictor, sorted_problems());
  });
  add_one("/decision", [predictor](benchmark::State& state) { decide_one(state, *predictor); });
  const auto add_cold = [&name](const char* what, auto body) {
    benchmark::RegisterBenchmark((name + what).c_str(), body)
        ->UseManualTime()
        ->Iterations(kColdQuestions)
        ->Unit(benchmark::kMicrosecond);
  };
  add_cold("/one_cold", [predictor](benchmark::State& state) { one_cold(state, *predictor); });
  add_cold("/decision_cold",
           [predictor](benchmark::State& state) { decide_cold(state, *predictor); });
}

void add_models() {
  for (std::size_t blocks = 1; blocks <= 5; ++blocks) {
    model::TrainOptions options = *model::preset("default");
    options.blocks = blocks;
    add("gamma" + std::to_string(blocks), train(options));
  }
  for (const model::BlockKind kind : {model::BlockKind::kMlp, model::BlockKind::kTransformer}) {
    model::TrainOptions options = *model::preset("default");
    options.block = kind;
    add(std::string(to_string(kind)) + "3", train(options));
  }
  add("paper_gamma3", train(*model::preset("paper")));
  add("shipped", load(kShipped));
}

#ifdef REFORMER_HAVE_CUDNN

// How long cuDNN took for its lists, shape by shape, each new to it. B is asked after A, which has
// done some of its work. (Plans are built in between, outside of these times.)
struct HeuristicTimes {
  std::vector<double> a_us;
  std::vector<double> b_us;
};

constexpr std::size_t kAsked = 40;

// The first question of a process takes a hundred milliseconds and more; it is not counted.
std::optional<HeuristicTimes> ask_cudnn(std::string& why) {
  const auto library = reformer::cudnn::Library::load("");
  if (!library) {
    why = library.error().message;
    return std::nullopt;
  }
  std::ifstream stream(REFORMER_SOURCE_DIR "/data/h200-deviceprop.json");
  const std::string properties{std::istreambuf_iterator<char>(stream), {}};
  const auto planner = reformer::cudnn::Planner::for_properties(*library, properties);
  if (!planner) {
    why = planner.error().message;
    return std::nullopt;
  }
  HeuristicTimes times;
  for (std::size_t i = 0; i <= kAsked; ++i) {
    const core::Problem& problem = problems()[i * (problems().size() / (kAsked + 1))];
    const auto answer = (*planner)->enumerate(problem, {}, {});
    if (answer && i > 0 && answer->heuristic_a_us > 0 && answer->heuristic_b_us > 0) {
      times.a_us.push_back(static_cast<double>(answer->heuristic_a_us));
      times.b_us.push_back(static_cast<double>(answer->heuristic_b_us));
    }
  }
  if (times.a_us.empty()) {
    why = "cuDNN answered nothing";
    return std::nullopt;
  }
  return times;
}

void add_heuristic(const char* name, std::vector<double> us) {
  std::ranges::sort(us);
  const auto runs = static_cast<benchmark::IterationCount>(us.size());
  benchmark::RegisterBenchmark(name,
                               [us](benchmark::State& state) {
                                 std::size_t i = 0;
                                 for (auto _ : state) {
                                   state.SetIterationTime(us[i++ % us.size()] * 1e-6);
                                 }
                                 state.counters["p50_us"] = us[us.size() / 2];
                                 state.counters["p90_us"] = us[us.size() * 9 / 10];
                               })
      ->UseManualTime()
      ->Iterations(runs)
      ->Unit(benchmark::kMicrosecond);
}

void add_heuristics() {
  std::string why;
  const std::optional<HeuristicTimes> times = ask_cudnn(why);
  if (!times) {
    std::fprintf(stderr, "inference_bench: heuristics A and B are SKIPPED: %s\n", why.c_str());
    return;
  }
  add_heuristic("cudnn_heuristic_a", times->a_us);
  add_heuristic("cudnn_heuristic_b", times->b_us);
}

#else

void add_heuristics() {
  std::fprintf(stderr, "inference_bench: heuristics A and B are SKIPPED: built without cuDNN\n");
}

#endif

}  // namespace

int main(int argc, char** argv) try {
  benchmark::Initialize(&argc, argv);
  if (argc == 2) {  // a model file instead of all that is made here
    add("given", load(argv[1]));
  } else if (benchmark::ReportUnrecognizedArguments(argc, argv)) {
    return 1;
  } else {
    add_models();
  }
  add_heuristics();
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "inference_bench: %s\n", error.what());
  return 1;
}
