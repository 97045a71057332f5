#include "cli/commands.h"
#include "cli/reply.h"
#include "cli/table.h"
#include "cli/units.h"

#include <fmt/format.h>

#include <memory>
#include <string>

// reformerctl models and promote: what predicts, and which one answers.
namespace reformer::cli {
namespace {

void print_models(Session& session, AdminChannel& channel) {
  Table table({{"model", Align::kLeft, Fit::kShrink},
               {""},
               {"block"},
               {"L", Align::kRight},
               {"target"},
               {"parameters", Align::kRight},
               {"classes", Align::kRight},
               {"verified", Align::kRight},
               {"slowdown", Align::kRight}});
  ask_rows(channel, {{"request", "models"}}, [&](const Json& model) {
    const bool champion = flag_of(model, "champion");
    const std::uint64_t rows = count_or(model, "rows", 0);
    table.add({text_of(model, "name"),
               {champion ? "champion" : "", Tone::kGood},
               text_of(model, "block"),
               fmt::format("{}", integer_of(model, "blocks")),
               text_of(model, "target"),
               human_count(count_of(model, "parameters")),
               human_count(count_of(model, "classes")),
               human_count(rows),
               human_factor(number_or_nan(model, "geomean_slowdown"))});
  });
  if (table.empty()) {
    *session.out << "no models are loaded\n";
  } else {
    table.print(*session.out, session.colour);
  }
}

}  // namespace

void add_models(CLI::App& app, Session& session) {
  CLI::App* command = app.add_subcommand("models", "The loaded models, and how each did so far")
                          ->group(group::kModels);
  command->callback([&session] {
    conduct(session, [&](AdminChannel& channel) {
      if (session.json) {
        print_json_rows(session, channel, {{"request", "models"}});
      } else {
        print_models(session, channel);
      }
    });
  });
}

void add_promote(CLI::App& app, Session& session) {
  CLI::App* command =
      app.add_subcommand("promote", "Make a model the champion: the one that answers")
          ->group(group::kModels)
          ->footer("Running applications keep the answers that they have got.");
  auto model = std::make_shared<std::string>();
  auto rollback = std::make_shared<bool>(false);
  auto* name = command->add_option("MODEL", *model, "Its name in `reformerctl models`");
  command->add_flag("--rollback", *rollback, "Back to the champion before")->excludes(name);
  command->callback([&session, model, rollback] {
    conduct(session, [&](AdminChannel& channel) {
      if (model->empty() != *rollback) {
        throw Failure(kExitUsage, "promote: give a model, or --rollback");
      }
      Json request{{"request", "promote"}};
      if (*rollback) {
        request["rollback"] = true;
      } else {
        request["model"] = *model;
      }
      const Json reply = ask(channel, request);
      if (session.json) {
        print_json(session, reply);
      } else {
        *session.out << printable(fmt::format("champion is {}, was {}",
                                              text_of(reply, "champion"),
                                              text_or(reply, "previous", "none")))
                     << '\n';
      }
    });
  });
}

}  // namespace reformer::cli
