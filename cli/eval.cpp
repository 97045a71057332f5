#include "cli/command.h"
#include "cli/eval_scores.h"
#include "cli/reply.h"
#include "cli/request_options.h"
#include "cli/table.h"
#include "cli/train_data.h"
#include "cli/units.h"
#include "core/engine_config.h"
#include "core/problem_text.h"
#include "model/predictor.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

// reformerctl eval: a model against the truth, beside cuDNN's own heuristics.
namespace reformer::cli {
namespace {

constexpr std::size_t kTimedProblems = 4000;
constexpr std::size_t kRankedInTiming = 8;
constexpr std::size_t kLossWidth = 200;  // long lines: configurations side by side

struct Arguments {
  std::string model;
  std::vector<std::string> data;
  bool unseen_only = false;
  ViewOptions views;
  core::BuildPolicy policy;
  std::size_t worst = 0;

  [[nodiscard]] model::View view() const {
    return views.deterministic          ? model::View::kDeterministic
           : views.without_tensor_cores ? model::View::kWithoutTensorCores
                                        : model::View::kAll;
  }
};

// A problem whose served choice is not the fastest: its scores.
struct Loss {
  std::string problem;
  const model::Score& served;
  const model::Score& heuristic_a;
  const model::Score& fastest;
};

void print_losses(std::ostream& out, bool colour, const std::vector<Loss>& losses) {
  Table table({{"lost", Align::kRight},
               {"slowdown", Align::kRight},
               {"served", Align::kRight},
               {"heuristic A", Align::kRight},
               {"fastest", Align::kRight},
               {"problem", Align::kLeft, Fit::kShrink},
               {"served configuration", Align::kLeft, Fit::kShrink},
               {"fastest configuration", Align::kLeft, Fit::kShrink}});
  for (const Loss& loss : losses) {
    table.add({human_us(loss.served.time_us - loss.served.best_us),
               human_factor(loss.served.slowdown),
               human_us(loss.served.time_us),
               loss.heuristic_a.covered ? human_us(loss.heuristic_a.time_us) : "-",
               human_us(loss.served.best_us),
               loss.problem,
               core::format_engine_config(loss.served.predicted),
               core::format_engine_config(loss.fastest.predicted)});
  }
  out << "\nwhere the served choice loses most:\n\n";
  table.print(out, colour, kLossWidth);
}

Json losses_to_json(const std::vector<Loss>& losses) {
  Json json = Json::array();
  for (const Loss& loss : losses) {
    json.push_back(
        {{"problem", loss.problem},
         {"slowdown", loss.served.slowdown},
         {"served_us", loss.served.time_us},
         {"heuristic_a_us", loss.heuristic_a.covered ? Json(loss.heuristic_a.time_us) : Json()},
         {"fastest_us", loss.served.best_us},
         {"abstained", loss.served.abstained},
         {"served", core::format_engine_config(loss.served.predicted)},
         {"fastest", core::format_engine_config(loss.fastest.predicted)}});
  }
  return json;
}

struct Inference {
  double p50_us = 0;
  double p99_us = 0;
};

// Features, network and ranked top 8 of one problem at a time; caches are warm, as in a daemon that
// is asked often.
Inference time_inference(const model::Predictor& predictor,
                         const std::vector<core::Problem>& problems) {
  using Clock = std::chrono::steady_clock;
  model::Predictor::Scratch scratch(predictor);
  model::Ranking ranking;
  std::vector<double> times;
  for (int pass = 0; pass < 2; ++pass) {
    times.clear();
    for (const core::Problem& problem : problems) {
      const auto start = Clock::now();
      predictor.rank(problem, kRankedInTiming, scratch, ranking);
      times.push_back(std::chrono::duration<double, std::micro>(Clock::now() - start).count());
    }
  }
  if (times.empty()) {
    return {};
  }
  std::sort(times.begin(), times.end());
  return {times[times.size() / 2], times[times.size() * 99 / 100]};
}

class Evaluation {
 public:
  Evaluation(Session& session, const Arguments& arguments)
      : session_(session), arguments_(arguments) {}

  void run() {
    const auto predictor = model::Predictor::load(arguments_.model);
    if (!predictor) {
      throw Failure(predictor.error());
    }
    ChooserScores scores(**predictor, arguments_.policy, arguments_.view());
    std::vector<core::Problem> timed;
    const Reading reading =
        read_measurements(session_, arguments_.data, [&](const core::Record& whole) {
          if (arguments_.view() != model::View::kAll &&
              whole.key.problem.x.type != core::DataType::kF32) {
            ++other_type_;
            return;
          }
          const std::uint32_t refused = model::refused_notes(arguments_.view());
          const core::Record left =
              refused != 0 ? core::without_notes(whole, refused) : core::Record();
          const core::Record& record = refused != 0 ? left : whole;
          if (core::fastest(record) == nullptr) {
            ++nothing_timed_;
            return;
          }
          const bool seen = (*predictor)->has_seen_shape(record.key.problem);
          seen_ += seen ? 1 : 0;
          if (seen && arguments_.unseen_only) {
            return;
          }
          other_context_ += (*predictor)->knows(record.key.context) ? 0 : 1;
          scores.add(record);
          if (arguments_.worst > 0) {
            problems_.push_back(record.key.problem);
          }
          if (timed.size() < kTimedProblems) {
            timed.push_back(record.key.problem);
          }
        });
    if (scores.problems() == 0) {
      throw Failure(kExitFailed, "no problem to evaluate on in these files");
    }
    print(**predictor, scores, time_inference(**predictor, timed));
    if (reading.rejected > 0) {
      session_.exit_code = kExitFailed;
    }
  }

 private:
  void print(const model::Predictor& predictor,
             const ChooserScores& scores,
             const Inference& inference) {
    if (session_.json) {
      Json json = scores.to_json();
      json["inference_us"] = {{"p50", inference.p50_us}, {"p99", inference.p99_us}};
      json["name"] = predictor.info().name;
      json["seen_shapes"] = seen_;
      json["nothing_timed"] = nothing_timed_;
      json["other_context"] = other_context_;
      if (arguments_.view() != model::View::kAll) {
        json["other_type"] = other_type_;
      }
      if (arguments_.worst > 0) {
        json["worst"] = losses_to_json(worst(scores));
      }
      print_json(session_, json);
      return;
    }
    *session_.out << fmt::format(
        "{}: {} problems\n\n", predictor.info().name, human_count(scores.problems()));
    scores.print(*session_.out, session_.colour);
    *session_.out << fmt::format("\ninference: p50 {:.2f} us, p99 {:.2f} us a problem\n",
                                 inference.p50_us,
                                 inference.p99_us);
    const auto say = [&](std::uint64_t count, const char* what) {
      if (count > 0) {
        *session_.out << fmt::format("{} problems {}\n", human_count(count), what);
      }
    };
    say(nothing_timed_, "have no timed candidate: left out");
    say(other_type_, "are not f32: left out");
    say(other_context_, "are of a GPU or cuDNN version that the model does not know");
    if (arguments_.unseen_only) {
      say(seen_, "are of shapes that the model was trained on: left out");
    } else {
      say(seen_, "are of shapes that the model was trained on; --unseen-only leaves them out");
    }
    if (const std::vector<Loss> losses = worst(scores); !losses.empty()) {
      print_losses(*session_.out, session_.colour, losses);
    }
  }

  [[nodiscard]] std::vector<Loss> worst(const ChooserScores& scores) const {
    std::vector<Loss> losses;
    for (const std::size_t place : scores.worst(arguments_.worst)) {
      losses.push_back({core::format_problem(problems_[place]),
                        scores.of(ChooserScores::kServed)[place],
                        scores.of(ChooserScores::kHeuristicA)[place],
                        scores.of(ChooserScores::kOracle)[place]});
    }
    return losses;
  }

  Session& session_;
  const Arguments& arguments_;
  std::vector<core::Problem> problems_;  // in the order of the scores, where the worst are wanted
  std::uint64_t nothing_timed_ = 0;
  std::uint64_t other_type_ = 0;
  std::uint64_t seen_ = 0;
  std::uint64_t other_context_ = 0;
};

}  // namespace

void add_eval(CLI::App& app, Session& session) {
  CLI::App* command = app.add_subcommand("eval", "Compare a model's choices with measured times")
                          ->group(group::kModels);
  auto arguments = std::make_shared<Arguments>();
  command->add_option("--model", arguments->model, "Model file")
      ->required()
      ->type_name("MODEL")
      ->check(CLI::ExistingFile);
  command->add_option("--data", arguments->data, "Measurement files (reformer-measurements/1)")
      ->required()
      ->type_name("FILE")
      ->check(CLI::ExistingFile);
  command->add_flag("--unseen-only",
                    arguments->unseen_only,
                    "Only problems whose shape the model was not trained on");
  arguments->views.add(*command);
  command
      ->add_option("--expected-uses",
                   arguments->policy.expected_uses,
                   "Executions within which a kernel that is compiled at run time must earn its "
                   "building time back, for `applied`")
      ->type_name("N")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--worst", arguments->worst, "List the N problems that lose most time")
      ->type_name("N");
  command->callback([&session, arguments] {
    conduct_alone(session, [&] { Evaluation(session, *arguments).run(); });
  });
}

}  // namespace reformer::cli
