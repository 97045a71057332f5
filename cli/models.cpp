#include "cli/commands.h"
#include "cli/reply.h"
#include "cli/table.h"
#include "cli/units.h"

#include <fmt/format.h>

#include <ctime>
#include <memory>
#include <string>

// reformerctl models and promote: what predicts, and which one answers.
namespace reformer::cli {
namespace {

// Of a model that was added at run time; others come from the configuration.
std::string origin_of(const Json& model) {
  const auto provenance = model.find("provenance");
  if (provenance == model.end() || !provenance->is_object()) {
    return "";
  }
  return flag_or(*provenance, "background", false) ? "training"
                                                   : text_or(*provenance, "added_by", "");
}

void print_models(Session& session, AdminChannel& channel) {
  Table table({{"model", Align::kLeft, Fit::kShrink},
               {""},
               {"block"},
               {"L", Align::kRight},
               {"target"},
               {"parameters", Align::kRight},
               {"classes", Align::kRight},
               {"verified", Align::kRight},
               {"slowdown", Align::kRight},
               {"added by"}});
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
               human_factor(number_or_nan(model, "geomean_slowdown")),
               origin_of(model)});
  });
  if (table.empty()) {
    *session.out << "no models are loaded\n";
  } else {
    table.print(*session.out, session.colour);
  }
}

void print_history(Session& session, AdminChannel& channel) {
  Table table({{"time"},
               {"champion", Align::kLeft, Fit::kShrink},
               {"before", Align::kLeft, Fit::kShrink},
               {"by"},
               {""},
               {"why", Align::kLeft, Fit::kShrink}});
  ask_rows(channel, {{"request", "promotions"}}, [&](const Json& row) {
    const auto why = row.find("why");
    table.add({human_age(integer_of(row, "time_s"), std::time(nullptr)),
               text_of(row, "model"),
               text_of(row, "previous"),
               text_of(row, "by"),
               flag_or(row, "rollback", false) ? "rollback"
               : flag_or(row, "undone", false) ? "undone"
                                               : "",
               why != row.end() && why->is_object() ? printable(why->dump()) : std::string()});
  });
  if (table.empty()) {
    *session.out << "no model was promoted\n";
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
  auto history = std::make_shared<bool>(false);
  auto* back =
      command->add_flag("--rollback", *rollback, "Back to the champion before")->excludes(name);
  command->add_flag("--history", *history, "Every promotion so far")
      ->excludes(name)
      ->excludes(back);
  command->callback([&session, model, rollback, history] {
    conduct(session, [&](AdminChannel& channel) {
      if (*history) {
        if (session.json) {
          print_json_rows(session, channel, {{"request", "promotions"}});
        } else {
          print_history(session, channel);
        }
        return;
      }
      if (model->empty() != *rollback) {
        throw Failure(kExitUsage, "promote: give a model, --rollback or --history");
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
