#include "cli/atomic_file.h"
#include "cli/command.h"
#include "cli/progress.h"
#include "cli/reply.h"
#include "cli/train_data.h"
#include "cli/units.h"
#include "interchange/measurements.h"
#include "model/model_file.h"
#include "model/training_run.h"

#include <fmt/format.h>

#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <array>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <functional>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

// reformerctl train: measurements in, a model file out.
namespace reformer::cli {
namespace {

using Clock = std::chrono::steady_clock;

struct Arguments {
  std::vector<std::string> data;
  bool from_daemon = false;
  bool no_add = false;  // what was trained from a daemon becomes its challenger
  bool background = false;
  std::uint64_t max_memory_bytes = 0;  // 0: no limit
  std::string device;
  std::int64_t cudnn = 0;
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
  bool no_calibration = false;
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
  options.folds = arguments.no_calibration ? 0 : options.folds;
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

// Out of everybody's way: the lowest priority, and a failed allocation instead of a full machine.
void go_to_background(const Arguments& arguments) {
  if (arguments.background) {
    (void)::setpriority(PRIO_PROCESS, 0, 19);
    const sched_param none{};
    (void)::sched_setscheduler(0, SCHED_IDLE, &none);
    (void)::prctl(PR_SET_PDEATHSIG, SIGKILL);  // not longer than the daemon that started it
  }
  if (arguments.max_memory_bytes > 0) {
    const rlimit limit{arguments.max_memory_bytes, arguments.max_memory_bytes};
    if (::setrlimit(RLIMIT_AS, &limit) != 0) {
      throw Failure(kExitFailed, "the memory limit cannot be set");
    }
  }
}

class Trainer {
 public:
  Trainer(Session& session, AdminChannel* daemon, bool quiet)
      : session_(session), daemon_(daemon), quiet_(quiet) {}

  void train(const Arguments& arguments) {
    require_writable(arguments.out);
    model::Corpus corpus;
    std::array<std::size_t, 4> counts{};
    const auto add = [&](const core::Record& record) {
      ++counts[static_cast<std::size_t>(corpus.add(record))];
    };
    // First, so that of two measurements of a problem this host's own is learnt from.
    if (daemon_ != nullptr) {
      read_daemon(arguments, add);
    }
    const std::size_t own = corpus.problems().size();
    const Reading reading = read_measurements(session_, arguments.data, add);
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
    const bool added = daemon_ != nullptr && !arguments.no_add;
    if (added) {
      add_to_daemon(*trained, arguments, own, corpus.problems().size() - own, seconds.count());
    }
    finish(*trained, arguments, seconds.count(), added);
    if (reading.rejected > 0) {
      session_.exit_code = kExitFailed;
    }
  }

 private:
  void read_daemon(const Arguments& arguments,
                   const std::function<void(const core::Record&)>& visit) {
    Json request{{"request", "export"}};
    if (!arguments.device.empty()) {
      request["device"] = arguments.device;
    }
    if (arguments.cudnn > 0) {
      request["cudnn"] = arguments.cudnn;
    }
    std::uint64_t rejected = 0;
    ask_rows(*daemon_, request, [&](const Json& row) {
      const auto record = interchange::record_from_json(row.dump());
      if (record) {
        visit(*record);
      } else {
        ++rejected;
      }
    });
    if (rejected > 0) {
      *session_.err << human_count(rejected) << " measurements of the daemon make no sense\n";
    }
  }

  void add_to_daemon(const model::ModelData& trained,
                     const Arguments& arguments,
                     std::size_t own,
                     std::size_t others,
                     double seconds) {
    Json files = Json::array();
    for (const std::string& file : arguments.data) {
      files.push_back(std::filesystem::path(file).filename().string());
    }
    (void)ask(*daemon_,
              {{"request", "add_model"},
               {"path", std::filesystem::absolute(arguments.out).string()},
               {"provenance",
                {{"program", "reformerctl train --from-daemon"},
                 {"background", arguments.background},
                 {"problems_of_this_host", own},
                 {"problems_of_files", others},
                 {"files", std::move(files)},
                 {"data_hash", trained.info.data_hash},
                 {"seed", trained.info.seed},
                 {"preset", arguments.preset},
                 {"seconds", seconds}}}});
  }

  bool report(const model::TrainProgress& progress) {
    if (quiet_) {
      return !InterruptGuard::interrupted();
    }
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

  void finish(const model::ModelData& trained,
              const Arguments& arguments,
              double seconds,
              bool added) {
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
                  {"added", added},
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
    if (added) {
      *session_.out << "it predicts now, and is compared; `reformerctl promote` makes it answer\n";
    }
  }

  Session& session_;
  AdminChannel* daemon_;  // null: files only
  bool quiet_;
  bool interrupted_ = false;
};

}  // namespace

void add_train(CLI::App& app, Session& session) {
  CLI::App* command =
      app.add_subcommand("train", "Train a model on measurements: of files, of this host, or both")
          ->group(group::kModels);
  auto arguments = std::make_shared<Arguments>();
  Arguments& a = *arguments;
  command->add_option("--data", a.data, "Measurement files (reformer-measurements/1)")
      ->type_name("FILE")
      ->check(CLI::ExistingFile);
  auto* from_daemon =
      command->add_flag("--from-daemon",
                        a.from_daemon,
                        "What this host has measured; the result becomes a challenger");
  command->add_flag("--no-add", a.no_add, "Only write the file")->needs(from_daemon);
  command->add_option("--device", a.device, "Of the daemon's measurements: GPU, as `list` shows it")
      ->needs(from_daemon);
  command->add_option("--cudnn", a.cudnn, "Of the daemon's measurements: cuDNN version number")
      ->needs(from_daemon);
  command->add_flag("--background", a.background, "Lowest priority, no progress");
  command->add_option("--max-memory", a.max_memory_bytes, "Limit of the address space")
      ->type_name("BYTES");
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
  command->add_flag("--no-calibration",
                    a.no_calibration,
                    "Skip the cross-fitted calibration: faster, and worse at knowing when not to "
                    "answer");
  command->callback([&session, arguments] {
    const auto train = [&session, arguments](AdminChannel* daemon) {
      go_to_background(*arguments);
      Trainer(session, daemon, arguments->background).train(*arguments);
    };
    if (arguments->from_daemon) {
      conduct(session, [&](AdminChannel& channel) { train(&channel); });
      return;
    }
    conduct_alone(session, [&] {
      if (arguments->data.empty()) {
        throw Failure(kExitUsage, "train: give --data, --from-daemon, or both");
      }
      train(nullptr);
    });
  });
}

}  // namespace reformer::cli
