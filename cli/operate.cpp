#include "cli/commands.h"
#include "cli/reply.h"
#include "cli/table.h"
#include "cli/units.h"

#include <memory>
#include <string>

// reformerctl check, reload and compact: what monitoring and administrators run.
namespace reformer::cli {

void add_check(CLI::App& app, Session& session) {
  CLI::App* command =
      app.add_subcommand("check", "Exit code 5 and a line for each alarm; silent when all is well")
          ->group(group::kLook);
  auto acknowledge = std::make_shared<bool>(false);
  command->add_flag("--acknowledge",
                    *acknowledge,
                    "Forget which problems got slower with an upgrade, then check");
  command->callback([&session, acknowledge] {
    conduct(session, [&](AdminChannel& channel) {
      if (*acknowledge) {
        (void)ask(channel, {{"request", "acknowledge"}});
      }
      const Json reply = ask(channel, {{"request", "check"}});
      if (!flag_of(reply, "ok")) {
        session.exit_code = kExitAlarm;
      }
      if (session.json) {
        print_json(session, reply);
        return;
      }
      for (const Json& alarm : array_of(reply, "alarms")) {
        *session.out << in_tone(printable(text_of(alarm, "kind")), Tone::kBad, session.colour)
                     << ": " << printable(text_of(alarm, "text")) << '\n';
      }
    });
  });
}

void add_reload(CLI::App& app, Session& session) {
  CLI::App* command =
      app.add_subcommand("reload", "Read the configuration and the model files again")
          ->group(group::kOperate);
  command->callback([&session] {
    conduct(session, [&](AdminChannel& channel) {
      const Json reply = ask(channel, {{"request", "reload"}});
      if (session.json) {
        print_json(session, reply);
        return;
      }
      for (const Json& setting : array_of(reply, "changed")) {
        *session.out << "changed: "
                     << printable(setting.is_string() ? setting.get<std::string>() : setting.dump())
                     << '\n';
      }
      for (const Json& setting : array_of(reply, "restart_needed")) {
        *session.out << "needs a restart: "
                     << printable(setting.is_string() ? setting.get<std::string>() : setting.dump())
                     << '\n';
      }
      const Json& models = member(reply, "models");
      *session.out << "models: " << (models.is_array() ? models.size() : count_of(reply, "models"))
                   << '\n';
    });
  });
}

void add_compact(CLI::App& app, Session& session) {
  CLI::App* command =
      app.add_subcommand("compact", "Rewrite the database without what was replaced or forgotten")
          ->group(group::kOperate);
  command->callback([&session] {
    conduct(session, [&](AdminChannel& channel) {
      const Json reply = ask(channel, {{"request", "compact"}});
      if (session.json) {
        print_json(session, reply);
      } else {
        *session.out << human_bytes(number_of(reply, "disk_bytes")) << " on disk\n";
      }
    });
  });
}

}  // namespace reformer::cli
