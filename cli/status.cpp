#include "cli/commands.h"
#include "cli/reply.h"
#include "cli/table.h"
#include "cli/units.h"

#include <fmt/format.h>

#include <string>

// reformerctl status: what the daemon is, holds and does.
namespace reformer::cli {
namespace {

Cell queue_text(const Json& queue) {
  const auto quarantined = count_of(queue, "quarantined");
  const auto dropped = count_of(queue, "dropped");
  std::string text = fmt::format("{} of {} places taken",
                                 human_count(count_of(queue, "length")),
                                 human_count(count_of(queue, "bound")));
  if (quarantined > 0) {
    text += fmt::format(", {} quarantined", human_count(quarantined));
  }
  if (dropped > 0) {
    text += fmt::format(", {} dropped", human_count(dropped));
  }
  const auto unstored = count_of(queue, "unstored");
  if (unstored > 0) {
    text += fmt::format(", {} measured and not stored yet", human_count(unstored));
  }
  const bool warns = quarantined > 0 || dropped > 0 || unstored > 0;
  return {std::move(text), warns ? Tone::kWarning : Tone::kPlain};
}

// `models` may be a count or a list of names.
std::string models_text(const Json& status) {
  const Json& models = member(status, "models");
  if (!models.is_array()) {
    return human_count(count_of(status, "models"));
  }
  std::string text;
  for (const Json& model : models) {
    text += text.empty() ? "" : ", ";
    text += model.is_string() ? model.get<std::string>() : text_of(model, "name");
  }
  return text.empty() ? "none" : text;
}

void print_workers(Session& session, const Json& workers) {
  if (workers.empty()) {
    return;
  }
  Table table({{"worker", Align::kLeft, Fit::kShrink},
               {"gpu", Align::kRight},
               {"timer", Align::kLeft, Fit::kShrink},
               {"state"},
               {"done", Align::kRight},
               {"failed", Align::kRight},
               {"restarts", Align::kRight},
               {"measuring", Align::kLeft, Fit::kShrink}});
  for (const Json& worker : workers) {
    const auto failed = count_of(worker, "failed");
    table.add({text_of(worker, "library"),
               fmt::format("{}", integer_of(worker, "gpu")),
               text_of(worker, "timer"),
               text_of(worker, "state"),
               human_count(count_of(worker, "done")),
               {human_count(failed), failed > 0 ? Tone::kWarning : Tone::kPlain},
               human_count(count_of(worker, "restarts")),
               {text_or(worker, "current", ""), Tone::kFaint}});
  }
  *session.out << '\n';
  table.print(*session.out, session.colour);
}

void print_status(Session& session, const Json& status) {
  Facts facts;
  facts.add("reformerd",
            fmt::format("{}, pid {}, up {}",
                        text_of(status, "version"),
                        integer_of(status, "pid"),
                        human_seconds(number_of(status, "uptime_s"))));
  facts.add("socket", text_of(status, "socket"));
  facts.add("state", text_of(status, "state_dir"));
  const Json& database = object_of(status, "database");
  facts.add("records",
            fmt::format("{} measured problems, {} on disk",
                        human_count(count_of(status, "records")),
                        human_bytes(number_of(database, "disk_bytes"))));
  if (const std::string aside = text_or(database, "set_aside", ""); !aside.empty()) {
    facts.add("set aside", {aside + ": " + text_or(database, "reason", "unknown"), Tone::kBad});
  }
  if (status.contains("plans")) {
    const Json& plans = object_of(status, "plans");
    facts.add("compiled plans",
              fmt::format("{}, {} on disk",
                          human_count(count_of(plans, "stored")),
                          human_bytes(number_of(plans, "bytes"))));
  }
  facts.add("queue", queue_text(object_of(status, "queue")));
  const std::string champion = text_or(status, "champion", "");
  facts.add(
      "champion",
      champion.empty() ? Cell("none: misses are left to cuDNN", Tone::kWarning) : Cell(champion));
  facts.add("models", models_text(status));
  facts.add("clients", human_count(count_of(status, "clients")));
  const Json& table = object_of(status, "table");
  if (const std::string path = text_or(table, "path", ""); !path.empty()) {
    facts.add("shared table",
              fmt::format("{}, {} answers, {}",
                          path,
                          human_count(count_of(table, "entries")),
                          human_bytes(number_of(table, "bytes"))));
  }
  for (const Json& alarm : array_of(status, "alarms")) {
    facts.add("alarm",
              {alarm.is_string() ? alarm.get<std::string>() : text_of(alarm, "text"), Tone::kBad});
  }
  facts.print(*session.out, session.colour);
  print_workers(session, array_of(status, "workers"));
}

}  // namespace

void add_status(CLI::App& app, Session& session) {
  CLI::App* command =
      app.add_subcommand("status", "What the daemon holds and is doing")->group(group::kLook);
  command->callback([&session] {
    conduct(session, [&](AdminChannel& channel) {
      const Json status = ask(channel, {{"request", "status"}});
      session.json ? print_json(session, status) : print_status(session, status);
    });
  });
}

}  // namespace reformer::cli
