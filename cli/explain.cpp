#include "cli/commands.h"
#include "cli/record_view.h"
#include "cli/request_options.h"
#include "cli/table.h"
#include "cli/units.h"

#include <fmt/format.h>

#include <memory>
#include <string>

// reformerctl query and explain: what an application would be answered, and why.
namespace reformer::cli {
namespace {

struct QueryOptions {
  ProblemOptions problem;
  ConstraintOptions constraints;
  bool verify = false;

  void fill(Json& request) const {
    problem.fill(request);
    constraints.fill(request);
  }
};

void print_predictions(Session& session, const Json& predictions) {
  if (predictions.empty()) {
    return;
  }
  Table table({{"model", Align::kLeft, Fit::kShrink},
               {"", Align::kLeft},
               {"sure", Align::kRight},
               {"first choice", Align::kLeft, Fit::kShrink}});
  for (const Json& prediction : predictions) {
    const Json& entries = array_of(prediction, "entries");
    std::string first;
    if (!entries.empty()) {
      first =
          entries[0].is_string() ? entries[0].get<std::string>() : text_of(entries[0], "config");
    }
    const bool abstained = flag_of(prediction, "abstained");
    table.add({text_of(prediction, "model"),
               {flag_or(prediction, "champion", false) ? "champion" : "", Tone::kGood},
               human_share(number_of(prediction, "confidence")),
               abstained
                   ? Cell(first.empty() ? "abstains" : "abstains (" + first + ")", Tone::kWarning)
                   : Cell(first)});
  }
  *session.out << '\n';
  table.print(*session.out, session.colour);
}

void print_filtered(Session& session, const Json& filtered) {
  if (filtered.empty()) {
    return;
  }
  Table table(
      {{"filtered out", Align::kLeft, Fit::kShrink}, {"time", Align::kRight}, {"because of"}});
  for (const Json& candidate : filtered) {
    table.add({text_of(candidate, "config"),
               human_us(number_or_nan(candidate, "time_us")),
               text_of(candidate, "verdict")});
  }
  *session.out << '\n';
  table.print(*session.out, session.colour);
}

void print_explanation(Session& session, const Json& reply) {
  print_decision(session, object_of(reply, "decision"));
  Facts facts;
  facts.add("why", text_of(reply, "why"));
  const double speedup = number_or_nan(reply, "speedup_over_heuristic_a");
  facts.add("over heuristic A", human_factor(speedup) + (speedup == speedup ? " as fast" : ""));
  *session.out << '\n';
  facts.print(*session.out, session.colour);
  print_filtered(session, array_of(reply, "filtered"));
  print_predictions(session, array_of(reply, "predictions"));
}

}  // namespace

void add_query(CLI::App& app, Session& session) {
  CLI::App* command =
      app.add_subcommand("query", "Ask as an application would")->group(group::kProblems);
  auto options = std::make_shared<QueryOptions>();
  options->problem.add(*command);
  options->constraints.add(*command);
  command->add_flag("--verify", options->verify, "Have it measured later if it is not yet");
  command->callback([&session, options] {
    conduct(session, [&](AdminChannel& channel) {
      Json request{{"request", "query"}};
      options->fill(request);
      request["verify"] = options->verify;
      const Json decision = ask(channel, request);
      session.json ? print_json(session, decision) : print_decision(session, decision);
    });
  });
}

void add_explain(CLI::App& app, Session& session) {
  CLI::App* command =
      app.add_subcommand("explain", "What would be answered, why, and what was ruled out")
          ->group(group::kProblems);
  auto options = std::make_shared<QueryOptions>();
  options->problem.add(*command);
  options->constraints.add(*command);
  command->callback([&session, options] {
    conduct(session, [&](AdminChannel& channel) {
      Json request{{"request", "explain"}};
      options->fill(request);
      const Json reply = ask(channel, request);
      session.json ? print_json(session, reply) : print_explanation(session, reply);
    });
  });
}

}  // namespace reformer::cli
