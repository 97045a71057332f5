#include "cli/command.h"
#include "cli/sweep_space.h"
#include "core/key.h"
#include "core/problem_text.h"
#include "cudnn/measurer.h"
#include "cudnn/planner.h"
#include "interchange/measurements.h"

#include <fmt/format.h>

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <deque>
#include <fstream>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <optional>
#include <sstream>
#include <string>
#include <thread>
#include <unordered_set>
#include <utility>
#include <vector>

namespace reformer::cli {
namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  std::size_t random = 0;
  std::string shapes;
  std::string problems;
  std::size_t count = 1000;
  std::string out;
  std::uint64_t seed = 1;
  unsigned threads = 0;
  int gpu = 0;
  std::string cudnn_library;
  std::string device_properties;
  bool enumerate_only = false;
  bool resume = false;
  double max_problem_ms = 3000;
  double time_limit_s = 0;
  std::size_t study = 0;
};

std::atomic<bool> interrupted = false;
void on_signal(int) {
  interrupted = true;
}

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// A problem with its plans, on its way from a builder to the GPU.
struct Prepared {
  core::Problem problem;
  core::Result<cudnn::Enumeration> candidates;
};

// Builders take the next problem and hand over prepared ones; at most `bound` wait, because plans
// of run-time compiled engines hold memory.
class Pipeline {
 public:
  Pipeline(const std::vector<core::Problem>& problems, std::size_t bound)
      : problems_(problems), bound_(bound) {}

  const core::Problem* next_problem() {
    const std::lock_guard lock(mutex_);
    return stopped_ || next_ == problems_.size() ? nullptr : &problems_[next_++];
  }
  void put(Prepared prepared) {
    std::unique_lock lock(mutex_);
    room_.wait(lock, [this] { return stopped_ || ready_.size() < bound_; });
    if (!stopped_) {
      ready_.push_back(std::move(prepared));
    }
    arrived_.notify_one();
  }
  void builder_ends() {
    const std::lock_guard lock(mutex_);
    --builders_;
    arrived_.notify_all();
  }
  std::optional<Prepared> take() {
    std::unique_lock lock(mutex_);
    while (ready_.empty()) {
      if (builders_ == 0 || stopped_) {
        return std::nullopt;
      }
      arrived_.wait_for(lock, std::chrono::milliseconds(200));
      stopped_ = stopped_ || interrupted;
    }
    Prepared prepared = std::move(ready_.front());
    ready_.pop_front();
    room_.notify_one();
    return prepared;
  }
  void stop() {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    room_.notify_all();
    arrived_.notify_all();
  }
  void set_builders(std::size_t count) { builders_ = count; }

 private:
  const std::vector<core::Problem>& problems_;
  const std::size_t bound_;
  std::mutex mutex_;
  std::condition_variable room_;
  std::condition_variable arrived_;
  std::deque<Prepared> ready_;
  std::size_t next_ = 0;
  std::size_t builders_ = 0;
  bool stopped_ = false;
};

core::Result<std::vector<core::Problem>> problems_of(const Options& options) {
  if (!options.problems.empty()) {
    return read_problem_lines(options.problems);
  }
  if (!options.shapes.empty()) {
    return draw_from_shapes(options.shapes, options.count, options.seed);
  }
  RandomSpace space(options.seed);
  std::vector<core::Problem> problems;
  while (problems.size() < options.random) {
    problems.push_back(space.draw());
  }
  return problems;
}

// Hashes of problems that the output already has. A last line that was cut off is ignored.
std::unordered_set<core::KeyHash, core::KeyHasher> already_done(const std::string& path) {
  std::unordered_set<core::KeyHash, core::KeyHasher> done;
  auto reader = interchange::MeasurementReader::open(path);
  while (reader && !reader.value()->broken()) {
    auto record = reader.value()->next();
    if (record && !record->has_value()) {
      break;
    }
    if (record) {
      done.insert(core::hash_problem(0, (*record)->key.problem));
    }
  }
  return done;
}

class Progress {
 public:
  explicit Progress(std::size_t total) : total_(total), terminal_(isatty(STDERR_FILENO) == 1) {}
  void advance(bool good) {
    (good ? done_ : failed_) += 1;
    const double period = terminal_ ? 0.2 : 10;
    if (seconds_since(shown_) >= period) {
      show();
    }
  }
  void show() {
    shown_ = Clock::now();
    const double rate =
        static_cast<double>(done_ + failed_) / std::max(1e-3, seconds_since(start_));
    const auto left = static_cast<double>(total_ - done_ - failed_);
    fmt::print(stderr,
               "{}sweep: {} of {} measured, {} not possible, {:.1f} a second, {:.0f} s left{}",
               terminal_ ? "\r" : "",
               done_,
               total_,
               failed_,
               rate,
               rate > 0 ? left / rate : 0.0,
               terminal_ ? "   " : "\n");
  }
  void finish() {
    show();
    if (terminal_) {
      fmt::print(stderr, "\n");
    }
  }
  [[nodiscard]] std::size_t done() const { return done_; }

 private:
  std::size_t total_;
  std::size_t done_ = 0;
  std::size_t failed_ = 0;
  bool terminal_;
  Clock::time_point start_ = Clock::now();
  Clock::time_point shown_ = start_;
};

int fail(const core::Error& error) {
  fmt::print(stderr, "reformerctl sweep: {}\n", error.message);
  return error.code == core::ErrorCode::kInvalidArgument ? kExitUsage : kExitFailed;
}

core::Result<std::string> read_text(const std::string& path) {
  std::ifstream file(path);
  if (!file) {
    return core::make_error(core::ErrorCode::kUnavailable, path + ": cannot be opened");
  }
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// What measuring needs, on the thread that measures.
struct Equipment {
  std::shared_ptr<const cudnn::Library> library;
  std::shared_ptr<const cudnn::Gpu> gpu;      // null: enumerate only
  std::unique_ptr<cudnn::Measurer> measurer;  // null: enumerate only
  std::string properties;                     // without a GPU
  core::DeviceFingerprint device;

  [[nodiscard]] core::Result<std::unique_ptr<cudnn::Planner>> make_planner() const {
    return gpu != nullptr ? cudnn::Planner::for_gpu(library, gpu)
                          : cudnn::Planner::for_properties(library, properties);
  }
};

constexpr std::int64_t kMaxMemory = std::int64_t{24} << 30;

core::Result<Equipment> equip(const Options& options) {
  Equipment equipment;
  auto library = cudnn::Library::load(options.cudnn_library);
  if (!library) {
    return library.error();
  }
  equipment.library = *library;
  if (options.enumerate_only) {
    auto text = read_text(options.device_properties);
    if (!text) {
      return text.error();
    }
    auto device = core::device_from_properties_json(*text);
    if (!device) {
      return device.error();
    }
    equipment.properties = *text;
    equipment.device = *device;
    return equipment;
  }
  auto gpu = cudnn::Gpu::open(options.gpu);
  if (!gpu) {
    return core::in_context("no GPU to measure on (--enumerate-only lists candidates without one)",
                            gpu.error());
  }
  auto measurer = cudnn::Measurer::create(*library, *gpu, kMaxMemory);
  if (!measurer) {
    return measurer.error();
  }
  equipment.gpu = *gpu;
  equipment.device = (*gpu)->fingerprint();
  equipment.measurer = std::move(*measurer);
  return equipment;
}

core::Record untimed_record(const Equipment& equipment, Prepared& prepared) {
  core::Record record;
  record.key = {{equipment.device, equipment.library->version()}, prepared.problem};
  for (cudnn::Planned& planned : prepared.candidates->candidates) {
    record.candidates.push_back(std::move(planned.candidate));
  }
  return record;
}

void build_plans(const Equipment& equipment, Pipeline& pipeline) {
  auto planner = equipment.make_planner();
  if (!planner) {
    fmt::print(stderr, "reformerctl sweep: {}\n", planner.error().message);
  }
  while (planner && !interrupted) {
    const core::Problem* const problem = pipeline.next_problem();
    if (problem == nullptr) {
      break;
    }
    pipeline.put({*problem, planner.value()->enumerate(*problem, {}, {})});
  }
  pipeline.builder_ends();
}

int measure_all(const Options& options,
                Equipment& equipment,
                const std::vector<core::Problem>& problems) {
  std::FILE* const out = std::fopen(options.out.c_str(), options.resume ? "ae" : "we");
  if (out == nullptr) {
    return fail(
        core::make_error(core::ErrorCode::kUnavailable, options.out + ": cannot be written"));
  }
  const unsigned threads =
      options.threads != 0 ? options.threads : std::max(1u, std::thread::hardware_concurrency());
  Pipeline pipeline(problems, 4 * threads);
  pipeline.set_builders(threads);
  std::vector<std::jthread> builders;
  for (unsigned i = 0; i < threads; ++i) {
    builders.emplace_back([&] { build_plans(equipment, pipeline); });
  }
  Progress progress(problems.size());
  const Clock::time_point start = Clock::now();
  int exit_code = kExitOk;
  while (auto prepared = pipeline.take()) {
    if (interrupted || (options.time_limit_s > 0 && seconds_since(start) > options.time_limit_s)) {
      break;
    }
    if (!prepared->candidates) {
      progress.advance(false);
      continue;
    }
    core::Result<core::Record> record = core::Error{};
    if (equipment.measurer == nullptr) {
      record = untimed_record(equipment, *prepared);
    } else {
      const Clock::time_point begun = Clock::now();
      auto measured =
          equipment.measurer->measure(prepared->problem, std::move(*prepared->candidates), {}, [&] {
            return interrupted.load() || 1000 * seconds_since(begun) > options.max_problem_ms;
          });
      record = measured ? core::Result<core::Record>(std::move(measured->record))
                        : core::Result<core::Record>(measured.error());
    }
    if (!record && record.error().code == core::ErrorCode::kInternal) {
      fmt::print(stderr,
                 "reformerctl sweep: {}: {}\n",
                 core::format_problem(prepared->problem),
                 record.error().message);
      exit_code = kExitFailed;
      break;
    }
    if (record) {
      record->provenance.source = "sweep";
      const std::string line = interchange::record_to_json(*record) + "\n";
      if (std::fwrite(line.data(), 1, line.size(), out) != line.size() || std::fflush(out) != 0) {
        exit_code = fail(core::make_error(core::ErrorCode::kExhausted,
                                          options.out + ": cannot be written further"));
        break;
      }
    }
    progress.advance(record.ok());
  }
  pipeline.stop();
  progress.finish();
  std::fclose(out);
  std::fflush(nullptr);
  if (exit_code != kExitOk) {
    _exit(exit_code);  // the GPU may be gone: destructors would hang in it
  }
  return exit_code;
}

// Times each problem by the race, exhaustively, and by the race again.
int study_race(const Options& options,
               Equipment& equipment,
               const std::vector<core::Problem>& problems) {
  auto planner = equipment.make_planner();
  if (!planner) {
    return fail(planner.error());
  }
  const cudnn::RaceOptions normal;
  cudnn::RaceOptions exhaustive;
  exhaustive.exhaustive = true;
  double log_ratio = 0;
  double race_us = 0;
  double all_us = 0;
  std::size_t n = 0;
  std::size_t same = 0;
  for (const core::Problem& problem : problems) {
    if (interrupted || n == options.study) {
      break;
    }
    std::vector<core::Result<cudnn::Measurer::Measured>> runs;
    for (const cudnn::RaceOptions* race :
         std::initializer_list<const cudnn::RaceOptions*>{&normal, &exhaustive, &normal}) {
      auto candidates = planner.value()->enumerate(problem, {}, {});
      if (!candidates) {
        break;
      }
      runs.push_back(equipment.measurer->measure(
          problem, std::move(*candidates), *race, [] { return interrupted.load(); }));
      if (!runs.back()) {
        break;
      }
    }
    if (runs.size() != 3 || !runs.back() || core::fastest(runs[1]->record) == nullptr) {
      continue;
    }
    const core::Candidate* const best = core::fastest(runs[1]->record);
    // The exhaustive run's time of a configuration that a race chose.
    const auto time_of = [&](const cudnn::Measurer::Measured& run) {
      const core::Candidate* const chosen = core::fastest(run.record);
      for (const core::Candidate& candidate : runs[1]->record.candidates) {
        if (chosen != nullptr && candidate.config == chosen->config && candidate.timed()) {
          return static_cast<double>(candidate.time_us);
        }
      }
      return 10.0 * best->time_us;
    };
    const double first = time_of(*runs[0]);
    const double second = time_of(*runs[2]);
    ++n;
    log_ratio += std::log(first / best->time_us);
    race_us += runs[0]->gpu_us;
    all_us += runs[1]->gpu_us;
    same += std::abs(first - second) <= 0.01 * std::min(first, second) ? 1 : 0;
  }
  const double count = static_cast<double>(std::max<std::size_t>(1, n));
  fmt::print(
      "{{\"problems\":{},\"geomean_ratio\":{:.5f},\"gpu_time_share\":{:.4f},"
      "\"same_winner_within_1pct\":{:.4f}}}\n",
      n,
      std::exp(log_ratio / count),
      all_us > 0 ? race_us / all_us : 0.0,
      static_cast<double>(same) / count);
  return n > 0 ? kExitOk : kExitFailed;
}

int run(const Options& options) {
  std::signal(SIGINT, on_signal);
  std::signal(SIGTERM, on_signal);
  const int sources = (options.random != 0) + !options.shapes.empty() + !options.problems.empty();
  if (sources != 1) {
    return fail(core::make_error(core::ErrorCode::kInvalidArgument,
                                 "give one of --random N, --shapes FILE, --problems FILE"));
  }
  if (options.out.empty() && options.study == 0) {
    return fail(core::make_error(core::ErrorCode::kInvalidArgument, "--out FILE is needed"));
  }
  auto problems = problems_of(options);
  if (!problems) {
    return fail(problems.error());
  }
  std::unordered_set<core::KeyHash, core::KeyHasher> done;
  if (options.resume) {
    done = already_done(options.out);
  }
  std::erase_if(*problems, [&done](const core::Problem& problem) {
    return !done.insert(core::hash_problem(0, problem)).second;
  });
  auto equipment = equip(options);
  if (!equipment) {
    return fail(equipment.error());
  }
  return options.study != 0 ? study_race(options, *equipment, *problems)
                            : measure_all(options, *equipment, *problems);
}

}  // namespace

void add_sweep(CLI::App& app, Session& session) {
  const auto options = std::make_shared<Options>();
  CLI::App* const command = app.add_subcommand(
      "sweep", "Measure many problems on this machine's GPU and write them as JSON lines");
  command->add_option("--random", options->random, "Draw N problems over the whole space")
      ->type_name("N");
  command->add_option("--shapes", options->shapes, "Draw problems from a CSV of network shapes")
      ->type_name("FILE");
  command->add_option("--count", options->count, "How many to draw from --shapes")
      ->capture_default_str();
  command
      ->add_option("--problems", options->problems, "Measure the problems of this file, one a line")
      ->type_name("FILE");
  command->add_option("--out", options->out, "Where the measurements go (JSON lines)")
      ->type_name("FILE");
  command->add_flag(
      "--resume", options->resume, "Go on with --out: skip what it has, append the rest");
  command->add_option("--seed", options->seed, "Of the draws")->capture_default_str();
  command->add_option("--threads", options->threads, "Builders of plans (default: all cores)");
  command->add_option("--gpu", options->gpu, "Which GPU")->capture_default_str();
  command
      ->add_option("--cudnn-lib", options->cudnn_library, "cuDNN to load (default: libcudnn.so.9)")
      ->type_name("FILE");
  command->add_flag("--enumerate-only",
                    options->enumerate_only,
                    "No GPU: list the candidates of --device-prop's GPU without times");
  command->add_option("--device-prop", options->device_properties, "Device properties (JSON)")
      ->type_name("FILE");
  command
      ->add_option("--max-problem-time",
                   options->max_problem_ms,
                   "Milliseconds of measuring after which a problem is given up")
      ->capture_default_str();
  command->add_option("--time-limit", options->time_limit_s, "Stop after so many seconds");
  command->add_option("--study",
                      options->study,
                      "Instead: compare the race with timing every candidate, on N problems");
  command->callback([options, &session] { session.exit_code = run(*options); });
}

}  // namespace reformer::cli
