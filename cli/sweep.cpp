#include "cli/command.h"
#include "cli/sweep_clock.h"
#include "cli/sweep_output.h"
#include "cli/sweep_pipeline.h"
#include "cli/sweep_space.h"
#include "cli/sweep_study.h"
#include "cli/sweep_team.h"
#include "core/key.h"
#include "core/problem_text.h"
#include "cudnn/driver.h"
#include "cudnn/exploration.h"
#include "cudnn/measurer.h"
#include "interchange/measurements.h"

#include <fmt/format.h>

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <unordered_set>
#include <utility>
#include <vector>

namespace reformer::cli {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kExploreBuildTime{20};  // then the rest of a knob space is left out

struct Options {
  std::size_t random = 0;
  std::size_t mix = 0;
  std::string shapes;
  std::string problems;
  std::size_t count = 1000;
  Batches batches;
  std::string out;
  std::uint64_t seed = 1;
  unsigned threads = 0;
  int gpu = 0;
  std::string cudnn_library;
  std::string device_properties;
  std::string model;
  bool enumerate_only = false;
  bool resume = false;
  double max_problem_ms = 3000;
  double time_limit_s = 0;
  std::size_t study = 0;
  bool verbose = false;
  bool explore = false;
  bool for_applications = false;
  std::size_t processes = 0;  // 0: as many as pay
};

std::atomic<bool> interrupted = false;
void on_signal(int) {
  interrupted = true;
}

core::Result<std::vector<core::Problem>> problems_of(const Options& options) {
  if (!options.problems.empty()) {
    return read_problem_lines(options.problems);
  }
  if (options.mix != 0) {
    return draw_mix(options.mix, options.shapes, options.seed);
  }
  if (!options.shapes.empty()) {
    return draw_from_shapes(options.shapes, options.count, options.seed, options.batches);
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

int fail(const core::Error& error) {
  fmt::print(stderr, "reformerctl sweep: {}\n", error.message);
  return error.code == core::ErrorCode::kInvalidArgument ? kExitUsage : kExitFailed;
}

core::Record untimed_record(const Equipment& equipment, Prepared& prepared) {
  core::Record record;
  record.key = {{equipment.device, equipment.library->version()}, prepared.problem};
  for (cudnn::Planned& planned : prepared.candidates->candidates) {
    record.candidates.push_back(std::move(planned.candidate));
  }
  return record;
}

core::Result<core::Record> measured_record(const Options& options,
                                           Equipment& equipment,
                                           const core::Problem& problem,
                                           std::span<const core::EngineConfig> chosen,
                                           const cudnn::Enumeration& candidates,
                                           Team& team) {
  cudnn::Measurer::Limits limits;
  limits.race.first_look_us = static_cast<float>(options.max_problem_ms * 500);
  limits.for_applications = options.for_applications;
  limits.chosen = chosen;
  equipment.measurer->load(problem, candidates, limits, [] { return interrupted.load(); });
  const Team::Turn turn(team);
  const Clock::time_point begun = Clock::now();
  if (equipment.watch != nullptr) {
    equipment.watch->begin();
  }
  auto measured = equipment.measurer->measure(problem, candidates, limits, [&] {
    return interrupted.load() || 1000 * seconds_since(begun) > options.max_problem_ms;
  });
  core::Provenance conditions;
  if (equipment.watch != nullptr) {
    conditions = equipment.watch->end();
  }
  if (!measured) {
    return measured.error();
  }
  cudnn::set_conditions(measured->record.provenance, conditions);
  measured->record.provenance.source = "sweep";
  return std::move(measured->record);
}

// The record of a prepared problem: measured, or only listed where there is no GPU.
core::Result<core::Record> record_of(const Options& options,
                                     Equipment& equipment,
                                     Prepared& prepared,
                                     Team& team) {
  if (equipment.measurer == nullptr) {
    return untimed_record(equipment, prepared);
  }
  auto record = measured_record(
      options, equipment, prepared.problem, prepared.chosen, *prepared.candidates, team);
  if (!record || !options.explore) {
    return record;
  }
  auto planner = equipment.make_planner();
  if (!planner) {
    return planner.error();
  }
  const auto candidates =
      cudnn::enumerate_explored(**planner, *record, prepared.chosen, {}, kExploreBuildTime, [] {
        return interrupted.load();
      });
  if (!candidates) {
    return candidates.error();
  }
  return measured_record(options, equipment, prepared.problem, prepared.chosen, *candidates, team);
}

// Measures what the pipeline prepares.
int measure_all(const Options& options,
                Equipment& equipment,
                Pipeline& pipeline,
                Output& out,
                Team& team,
                SweepProgress& progress) {
  const Clock::time_point start = Clock::now();
  core::Status status = core::ok_status();
  while (status) {
    auto prepared = pipeline.take();
    if (!prepared || interrupted ||
        (options.time_limit_s > 0 && seconds_since(start) > options.time_limit_s)) {
      break;
    }
    bool good = false;
    if (prepared->candidates) {
      const core::Result<core::Record> record = record_of(options, equipment, *prepared, team);
      pipeline.retire(std::move(*prepared->candidates));
      if (record) {
        status = out.write(*record);
        good = status.ok();
      } else if (record.error().code == core::ErrorCode::kInternal) {
        status = core::in_context(core::format_problem(prepared->problem), record.error());
      } else if (options.verbose) {
        fmt::print(
            stderr, "{}: {}\n", core::format_problem(prepared->problem), record.error().message);
      }
    }
    progress.advance(good);
  }
  if (options.verbose && equipment.measurer != nullptr) {
    fmt::print(stderr,
               "sweep: {:.2f} s; {}; {}\n",
               seconds_since(start),
               pipeline.profile(),
               equipment.measurer->profile());
  }
  std::fflush(nullptr);
  if (!status) {
    (void)fail(status.error());
    std::fflush(nullptr);
    _exit(kExitFailed);  // the GPU may be gone: destructors would hang in it
  }
  return kExitOk;
}

core::Status check(const Options& options) {
  const int sources = (options.random != 0) + (options.mix != 0 || !options.shapes.empty()) +
                      !options.problems.empty();
  if (sources != 1) {
    return core::make_error(core::ErrorCode::kInvalidArgument,
                            "give one of --random N, --mix N, --shapes FILE, --problems FILE");
  }
  if (options.out.empty() && options.study == 0) {
    return core::make_error(core::ErrorCode::kInvalidArgument, "--out FILE is needed");
  }
  return core::ok_status();
}

// The problems of a sweep, without those that the output has already.
core::Result<std::vector<core::Problem>> problems_left(const Options& options) {
  auto problems = problems_of(options);
  if (!problems) {
    return problems;
  }
  std::unordered_set<core::KeyHash, core::KeyHasher> done;
  if (options.resume) {
    done = already_done(options.out);
  }
  std::erase_if(*problems, [&done](const core::Problem& problem) {
    return !done.insert(core::hash_problem(0, problem)).second;
  });
  return problems;
}

// Three keep an H200 busy (docs/verification.md), and a builder or two each would not.
std::size_t processes_of(const Options& options, unsigned threads) {
  constexpr unsigned kBuildersEach = 5;
  if (options.study != 0) {
    return 1;
  }
  if (options.processes != 0) {
    return std::min<std::size_t>(options.processes, threads);
  }
  return options.enumerate_only ? 1 : std::clamp<std::size_t>(threads / kBuildersEach, 1, 3);
}

// One process's share: every n-th problem.
int run_member(const Options& options,
               const std::vector<core::Problem>& problems,
               std::size_t member,
               unsigned threads,
               Output* out,
               std::shared_ptr<const model::Predictor> predictor,
               Team& team,
               SweepProgress& progress) {
  std::vector<core::Problem> share;
  for (std::size_t i = member; i < problems.size(); i += team.members()) {
    share.push_back(problems[i]);
  }
  auto equipment = Equipment::get(options.cudnn_library,
                                  options.enumerate_only ? -1 : options.gpu,
                                  options.device_properties,
                                  team,
                                  interrupted);
  if (!equipment) {
    return interrupted ? kExitOk : fail(equipment.error());
  }
  equipment->predictor = std::move(predictor);
  Pipeline pipeline(
      *equipment, share, threads / static_cast<unsigned>(team.members()), interrupted);
  return out == nullptr ? study_race(*equipment, pipeline, options.study, interrupted)
                        : measure_all(options, *equipment, pipeline, *out, team, progress);
}

int run(const Options& options) {
  std::signal(SIGINT, on_signal);
  std::signal(SIGTERM, on_signal);
  if (const core::Status usable = check(options); !usable) {
    return fail(usable.error());
  }
  const auto problems = problems_left(options);
  if (!problems) {
    return fail(problems.error());
  }
  std::shared_ptr<const model::Predictor> predictor;
  if (!options.model.empty()) {
    auto loaded = model::Predictor::load(options.model);
    if (!loaded) {
      return fail(loaded.error());
    }
    predictor = std::move(*loaded);
  }
  std::optional<Output> out;
  if (options.study == 0) {
    out.emplace(options.out, options.resume);
    if (!out->open()) {
      return fail(
          core::make_error(core::ErrorCode::kUnavailable, options.out + ": cannot be written"));
    }
  }
  const unsigned threads =
      options.threads != 0 ? options.threads : std::max(1u, std::thread::hardware_concurrency());
  cudnn::turn_compile_cache_off();
  auto team = Team::make(processes_of(options, threads));
  if (!team) {
    return fail(team.error());
  }
  SweepProgress progress(*team, problems->size());
  const int result = team->run(
      [&](std::size_t member) {
        return run_member(
            options, *problems, member, threads, out ? &*out : nullptr, predictor, *team, progress);
      },
      [&progress] { progress.show_if_due(); },
      interrupted,
      kExitFailed);
  if (options.study == 0 && result != kExitUsage) {
    progress.finish();
  }
  return result;
}

}  // namespace

void add_sweep(CLI::App& app, Session& session) {
  const auto options = std::make_shared<Options>();
  CLI::App* const command = app.add_subcommand(
      "sweep", "Measure many problems on this machine's GPU and write them as JSON lines");
  command->add_option("--random", options->random, "Draw N problems over the whole space")
      ->type_name("N");
  command
      ->add_option("--mix",
                   options->mix,
                   "Draw N problems as networks have them, every sixth from the whole space; with "
                   "--shapes some are those shapes at other widths and sizes")
      ->type_name("N");
  command->add_option("--shapes", options->shapes, "Draw problems from a CSV of network shapes")
      ->type_name("FILE");
  command->add_option("--count", options->count, "How many to draw from --shapes")
      ->capture_default_str();
  command
      ->add_option("--min-batch",
                   options->batches.smallest,
                   "Smallest batch drawn for --shapes: powers of two")
      ->capture_default_str();
  command->add_option("--max-batch", options->batches.largest, "Largest batch drawn for --shapes")
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
  command
      ->add_option(
          "--processes",
          options->processes,
          "Processes that share the builders and take turns on the GPU; cuDNN builds plans "
          "faster in three than in one (default: one for 5 threads, at most 3)")
      ->type_name("N")
      ->check(CLI::Range(1, 64));
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
  command
      ->add_option("--model",
                   options->model,
                   "Also measure this model's four first choices, where cuDNN does not list them")
      ->type_name("FILE");
  command->add_flag("--explore",
                    options->explore,
                    "Also the knob space of each problem's three best engines (slow)");
  command->add_flag("--for-applications",
                    options->for_applications,
                    "Also find the best without tensor cores in f32, without down-conversion and "
                    "with determinism, as the daemon's worker does (slower)");
  command->add_flag("-v,--verbose",
                    options->verbose,
                    "Say why problems are not possible, and where the time went");
  command->callback([options, &session] { session.exit_code = run(*options); });
}

}  // namespace reformer::cli
