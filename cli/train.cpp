#include "cli/command.h"
#include "cli/progress.h"
#include "cli/reply.h"
#include "cli/train_data.h"
#include "cli/units.h"
#include "model/model_file.h"
#include "model/training_run.h"

#include <fmt/format.h>

#include <chrono>
#include <memory>
#include <numeric>
#include <array>
#include <string>
#include <vector>

// reformerctl train: measurements in, a model file out.
namespace reformer::cli {
namespace {

using Clock = std::chrono::steady_clock;

struct Arguments {
  std::vector<std::string> data;
  std::string out;
  std::string preset = "default";
  std::string name;
  std::size_t blocks = 3;
  std::string block = "gamma";
  std::string target;     // empty: the preset's
  double sharpness = -1;  // below 0: the preset's
  std::uint64_t seed = 1;
  std::size_t epochs = 0;  // 0: the preset's
  std::size_t threads = default_threads();
  double validation_share = 0.1;
  bool calibrate = true;
};

model::TrainOptions options_from(const Arguments& arguments) {
  model::TrainOptions options = *model::preset(arguments.preset);  // checked by the parser
  options.name = arguments.name;
  options.blocks = arguments.blocks;
  options.block = *model::parse_block_kind(arguments.block);
  if (!arguments.target.empty()) {
    options.loss.target = *model::parse_target_kind(arguments.target);
  }
  if (arguments.sharpness >= 0) {
    options.loss.sharpness = static_cast<float>(arguments.sharpness);
  }
  if (arguments.epochs > 0) {
    options.epochs = arguments.epochs;
  }
  options.seed = arguments.seed;
  options.shards = arguments.threads;
  options.validation_share = arguments.validation_share;
  options.folds = arguments.calibrate ? options.folds : 0;
  return options;
}

void report_added(Session& session, std::span<const std::size_t> counts) {
  *session.err << fmt::format(
      "{} problems to learn from",
      human_count(counts[static_cast<std::size_t>(model::Corpus::Added::kYes)]));
  const auto say = [&](model::Corpus::Added kind, const char* what) {
    if (const std::size_t n = counts[static_cast<std::size_t>(kind)]; n > 0) {
      *session.err << fmt::format("; {} {}", human_count(n), what);
    }
  };
  say(model::Corpus::Added::kDuplicate, "are there twice");
  say(model::Corpus::Added::kNothingTimed, "have no timed candidate");
  say(model::Corpus::Added::kOtherContext, "are of another GPU or cuDNN version: left out");
  *session.err << '\n';
}

class Trainer {
 public:
  explicit Trainer(Session& session) : session_(session) {}

  void train(const Arguments& arguments) {
    model::Corpus corpus;
    std::array<std::size_t, 4> counts{};
    const Reading reading = read_measurements(session_, arguments.data, [&](const auto& record) {
      ++counts[static_cast<std::size_t>(corpus.add(record))];
    });
    report_added(session_, counts);
    const auto started = Clock::now();
    const InterruptGuard guard;
    Workers workers(arguments.threads);
    std::vector<std::size_t> all(corpus.problems().size());
    std::iota(all.begin(), all.end(), std::size_t{0});
    const auto trained = model::train_model(
        corpus,
        all,
        options_from(arguments),
        [&workers](std::size_t count, const auto& body) { workers.run(count, body); },
        [this](const model::TrainProgress& progress) { return report(progress); });
    if (!trained) {
      throw Failure(trained.error());
    }
    const std::chrono::duration<double> seconds = Clock::now() - started;
    if (const auto written = model::write_model(*trained, arguments.out); !written) {
      throw Failure(written.error());
    }
    finish(*trained, arguments, seconds.count());
    if (reading.rejected > 0) {
      session_.exit_code = kExitFailed;
    }
  }

 private:
  bool report(const model::TrainProgress& progress) {
    if (progress.stage == model::TrainProgress::Stage::kNetwork) {
      const model::EpochReport& epoch = progress.epoch;
      *session_.err << fmt::format("epoch {:3}/{}  loss {:.4f}  validation slowdown {:.4f}\n",
                                   epoch.epoch,
                                   epoch.epochs,
                                   epoch.loss,
                                   epoch.validation_slowdown);
    } else {
      *session_.err << fmt::format("calibration {}/{}\n", progress.folds_done, progress.folds);
    }
    if (InterruptGuard::interrupted() && !interrupted_) {
      interrupted_ = true;
      *session_.err << "interrupted: keeping the best so far\n";
    }
    return !interrupted_;
  }

  void finish(const model::ModelData& trained, const Arguments& arguments, double seconds) {
    const model::ModelInfo& info = trained.info;
    Json figures = Json::object();
    for (const auto& [name, value] : info.metrics) {
      figures[name] = value;
    }
    if (session_.json) {
      print_json(session_,
                 {{"file", arguments.out},
                  {"name", info.name},
                  {"problems", info.training_problems},
                  {"classes", info.classes},
                  {"parameters", info.parameters},
                  {"seconds", seconds},
                  {"interrupted", interrupted_},
                  {"metrics", figures}});
      return;
    }
    *session_.out << fmt::format("{}: {}, {} classes, {} parameters, {} problems, {}\n",
                                 arguments.out,
                                 info.name,
                                 human_count(info.classes),
                                 human_count(info.parameters),
                                 human_count(info.training_problems),
                                 human_seconds(seconds));
    for (const auto& [name, value] : info.metrics) {
      *session_.out << fmt::format("  {:42} {:.6g}\n", name, value);
    }
  }

  Session& session_;
  bool interrupted_ = false;
};

}  // namespace

void add_train(CLI::App& app, Session& session) {
  CLI::App* command =
      app.add_subcommand("train", "Train a model on measurements")->group(group::kModels);
  auto arguments = std::make_shared<Arguments>();
  Arguments& a = *arguments;
  command->add_option("--data", a.data, "Measurement files (reformer-measurements/1)")
      ->required()
      ->type_name("FILE")
      ->check(CLI::ExistingFile);
  command->add_option("--out", a.out, "Model file to write")->required()->type_name("MODEL");
  command->add_option("--preset", a.preset, "What the other options change")
      ->check(CLI::IsMember({"default", "paper"}))
      ->capture_default_str();
  command->add_option("--blocks", a.blocks, "Number of blocks")
      ->check(CLI::Range(1, 16))
      ->capture_default_str();
  command->add_option("--block", a.block, "Kind of block")
      ->check(CLI::IsMember({"gamma", "mlp", "transformer"}))
      ->capture_default_str();
  command->add_option("--target", a.target, "Probabilities to learn from the times [ratio]")
      ->check(CLI::IsMember({"ratio", "one-hot", "softmax"}));
  command->add_option("--sharpness", a.sharpness, "Of ratio and softmax targets [the preset's]")
      ->check(CLI::Range(0.0, 1000.0))
      ->type_name("S");
  command->add_option("--seed", a.seed, "Same seed and threads: same file")->capture_default_str();
  command->add_option("--epochs", a.epochs, "Passes over the data [the preset's]")
      ->check(CLI::Range(1, 100000));
  command->add_option("--threads", a.threads, "Threads")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  command->add_option("--validation-share", a.validation_share, "Share of shapes not trained on")
      ->check(CLI::Range(0.0, 0.5))
      ->capture_default_str();
  command->add_option("--name", a.name, "Name of the model [made from what it is]");
  command->add_flag("!--no-calibration",
                    a.calibrate,
                    "Skip the cross-fitted calibration: faster, and worse at knowing when not to "
                    "answer");
  command->callback([&session, arguments] {
    conduct_alone(session, [&] { Trainer(session).train(*arguments); });
  });
}

}  // namespace reformer::cli
