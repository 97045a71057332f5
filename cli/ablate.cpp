#include "cli/ablate_data.h"
#include "cli/ablate_families.h"
#include "cli/ablate_html.h"
#include "cli/ablate_report.h"
#include "cli/ablate_run.h"
#include "cli/ablate_variants.h"
#include "cli/atomic_file.h"
#include "cli/command.h"
#include "cli/progress.h"
#include "cli/reply.h"
#include "cli/train_data.h"
#include "cli/units.h"

#include <fmt/format.h>

#include <cmath>
#include <memory>
#include <span>
#include <string>
#include <vector>

// reformerctl ablate: trains every variant of the studies on one split and compares them.
namespace reformer::cli {
namespace {

struct Arguments {
  PlanOptions plan;
  std::vector<std::string> data;
  std::size_t seeds = 3;
  std::size_t threads = default_threads();
  double held_out_share = 0.2;
  std::string html;
  FamilyOptions families;
  bool families_uncalibrated = false;
};

class Ablation {
 public:
  Ablation(Session& session, const Arguments& arguments)
      : session_(session),
        arguments_(arguments),
        data_(session, arguments.data, arguments.held_out_share),
        plan_(make_plan(arguments.plan)),
        runs_(plan_.variants.size()),
        workers_(arguments.threads) {}

  void run() {
    if (!arguments_.html.empty()) {
      require_writable(arguments_.html);
    }
    train_all();
    if (finished_ == 0) {
      throw Failure(kExitFailed, "interrupted before the first variant was trained");
    }
    const AblateReport report(data_, plan_, runs_, arguments_.seeds);
    if (session_.json) {
      print_json(session_, report.to_json());
    } else {
      report.print(*session_.out, session_.colour);
    }
    if (!arguments_.html.empty()) {
      const std::string page = ablate_page(report);
      write_atomically(arguments_.html, std::as_bytes(std::span(page)));
      *session_.err << "report in " << arguments_.html << '\n';
    }
    if (data_.rejected() > 0) {
      session_.exit_code = kExitFailed;
    }
  }

 private:
  // Seed by seed, so that what is finished when somebody interrupts compares variant with variant.
  void train_all() {
    const InterruptGuard guard;
    const ScratchFolder scratch;
    for (std::uint64_t seed = 1; seed <= arguments_.seeds && !interrupted_; ++seed) {
      for (std::size_t v = 0; v < plan_.variants.size() && !interrupted_; ++v) {
        train_one(v, seed, scratch);
      }
    }
  }

  void train_one(std::size_t index, std::uint64_t seed, const ScratchFolder& scratch) {
    const Variant& variant = plan_.variants[index];
    model::Corpus noisy;
    if (variant.noise > 0) {
      noisy = data_.noisy(variant.noise, seed);
    }
    std::optional<VariantRun> run;
    {
      Progress progress(*session_.err, session_.progress, "ablate");
      run = run_variant(data_,
                        variant.noise > 0 ? noisy : data_.corpus(),
                        variant,
                        seed,
                        workers_,
                        scratch,
                        [&](std::size_t epoch, std::size_t epochs) {
                          const std::size_t all = plan_.variants.size() * arguments_.seeds;
                          progress.update(finished_ * epochs + epoch, all * epochs, variant.name);
                          interrupted_ = interrupted_ || InterruptGuard::interrupted();
                          return !interrupted_;
                        });
    }
    if (!run) {
      *session_.err << "interrupted: " << variant.name << " is not finished and left out\n";
      return;
    }
    ++finished_;
    say(variant, *run);
    runs_[index].push_back(std::move(*run));
  }

  void say(const Variant& variant, const VariantRun& run) {
    double sum = 0;
    double covered = 0;
    for (const Outcome& outcome : run.outcomes) {
      if (outcome.covered) {
        sum += std::log(outcome.slowdown);
        covered += 1;
      }
    }
    *session_.err << fmt::format("{}/{}  {}, seed {}: slowdown {:.4f}, {:.1f} s\n",
                                 finished_,
                                 plan_.variants.size() * arguments_.seeds,
                                 variant.name,
                                 run.seed,
                                 std::exp(sum / covered),
                                 run.training_s);
  }

  Session& session_;
  const Arguments& arguments_;
  AblateData data_;
  Plan plan_;
  std::vector<std::vector<VariantRun>> runs_;
  Workers workers_;
  std::size_t finished_ = 0;
  bool interrupted_ = false;
};

void add_study_options(CLI::App& command, PlanOptions& plan) {
  command.add_option("--blocks", plan.blocks, "Study: number of blocks")
      ->delimiter(',')
      ->check(CLI::Range(1, 16))
      ->default_str("1,2,3,4,5");
  command.add_option("--target", plan.targets, "Study: target, L = 3")
      ->delimiter(',')
      ->check(CLI::IsMember({"ratio", "one-hot", "softmax"}))
      ->default_str("ratio,one-hot,softmax");
  command.add_option("--block", plan.block_kinds, "Study: kind of block, L = 3")
      ->delimiter(',')
      ->check(CLI::IsMember({"gamma", "mlp", "transformer"}));
  command.add_option("--sharpness", plan.sharpness, "Study: sharpness of each target that has one")
      ->delimiter(',')
      ->check(CLI::Range(0.0, 1000.0))
      ->type_name("S");
  command.add_option("--noise", plan.noise, "Study: relative width of noise on the training times")
      ->delimiter(',')
      ->check(CLI::Range(0.0, 2.0))
      ->type_name("WIDTH");
  command.add_flag("--steps",
                   plan.steps,
                   "Study: from the paper's configuration to the default, one change at a time");
}

void add_training_options(CLI::App& command, Arguments& a) {
  command.add_option("--preset", a.plan.preset, "What the variants change: paper or default")
      ->check(CLI::IsMember({"default", "paper"}))
      ->capture_default_str();
  command.add_option("--seeds", a.seeds, "Trainings of each variant")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command.add_option("--epochs", a.plan.epochs, "Passes over the data [the preset's]")
      ->check(CLI::Range(1, 100000));
  command.add_option("--threads", a.threads, "Threads")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  command.add_option("--held-out", a.held_out_share, "Share of the shapes to compare on")
      ->check(CLI::Range(0.01, 0.9))
      ->type_name("SHARE")
      ->capture_default_str();
  command.add_flag(
      "--calibrate",
      a.plan.calibrate,
      "Cross-fit when to abstain, as train does; slower, and part of the training time");
}

// What leaves families out instead of studying variants. Behind the options of the studies, which
// it excludes.
void add_family_options(CLI::App& command, Arguments& a) {
  auto* families =
      command
          .add_option(
              "--hold-out-families",
              a.families.families,
              "Instead of the studies: leave each family of networks out (CSV network,family); "
              "calibrated, the default preset unless --preset is given")
          ->type_name("FILE")
          ->check(CLI::ExistingFile);
  command
      .add_flag("--no-calibration",
                a.families_uncalibrated,
                "With --hold-out-families: the judge learns from the validation problems only; a "
                "third of the time")
      ->needs(families);
  auto* shapes =
      command
          .add_option(
              "--shapes", a.families.shapes, "Which network has which shape (data/conv-shapes.csv)")
          ->type_name("FILE")
          ->check(CLI::ExistingFile)
          ->needs(families);
  families->needs(shapes);
  for (const char* study : {"--blocks",
                            "--block",
                            "--target",
                            "--sharpness",
                            "--noise",
                            "--steps",
                            "--calibrate",
                            "--held-out",
                            "--html"}) {
    families->excludes(command.get_option(study));
  }
}

void leave_families_out(Session& session, Arguments& arguments, bool preset_given) {
  FamilyOptions& families = arguments.families;
  families.data = arguments.data;
  families.training = *model::preset(preset_given ? arguments.plan.preset : "default");
  if (arguments.plan.epochs > 0) {
    families.training.epochs = arguments.plan.epochs;
  }
  if (arguments.families_uncalibrated) {
    families.training.folds = 0;
  }
  families.seeds = arguments.seeds;
  families.threads = arguments.threads;
  study_families(session, families);
}

}  // namespace

void add_ablate(CLI::App& app, Session& session) {
  CLI::App* command = app.add_subcommand("ablate", "Train and compare variants of the model")
                          ->group(group::kModels);
  auto arguments = std::make_shared<Arguments>();
  arguments->plan.blocks = {1, 2, 3, 4, 5};
  arguments->plan.targets = {"ratio", "one-hot", "softmax"};
  command->add_option("--data", arguments->data, "Measurement files (reformer-measurements/1)")
      ->required()
      ->type_name("FILE")
      ->check(CLI::ExistingFile);
  add_study_options(*command, arguments->plan);
  add_training_options(*command, *arguments);
  command->add_option("--html", arguments->html, "Also write a page with plots")->type_name("FILE");
  add_family_options(*command, *arguments);
  command->callback([&session, arguments, command] {
    arguments->plan.shards = arguments->threads;
    if (!arguments->families.families.empty()) {
      const bool preset_given = command->get_option("--preset")->count() > 0;
      conduct_alone(session, [&] { leave_families_out(session, *arguments, preset_given); });
      return;
    }
    conduct_alone(session, [&] { Ablation(session, *arguments).run(); });
  });
}

}  // namespace reformer::cli
