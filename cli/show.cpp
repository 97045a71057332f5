#include "cli/commands.h"
#include "cli/record_view.h"
#include "cli/request_options.h"
#include "cli/units.h"

#include <memory>

// reformerctl show and verify: one problem's measurements, there or to be made.
namespace reformer::cli {
namespace {

// What the daemon said to `verify`.
void show_verification(Session& session, const Json& reply, bool waited) {
  const std::string error = text_or(reply, "error", "");
  if (session.json) {
    print_json(session, reply);
  } else if (!error.empty()) {
    // There is nothing else to show.
  } else if (waited) {
    print_record(session, reply);
  } else if (flag_of(reply, "queued")) {
    *session.out << "queued, place " << count_or(reply, "position", 0) << '\n';
  } else {
    *session.out << "nothing to do: it is measured (--force measures again)\n";
  }
  if (!error.empty()) {
    throw Failure(kExitFailed, printable("it could not be measured: " + error));
  }
}

}  // namespace

void add_show(CLI::App& app, Session& session) {
  CLI::App* command = app.add_subcommand("show", "Every measured candidate of one problem")
                          ->group(group::kProblems);
  auto problem = std::make_shared<ProblemOptions>();
  problem->add(*command);
  command->callback([&session, problem] {
    conduct(session, [&](AdminChannel& channel) {
      Json request{{"request", "show"}};
      problem->fill(request);
      const Json record = ask(channel, request);
      session.json ? print_json(session, record) : print_record(session, record);
    });
  });
}

void add_verify(CLI::App& app, Session& session) {
  CLI::App* command =
      app.add_subcommand("verify", "Have a problem measured, soon or now")->group(group::kProblems);
  auto problem = std::make_shared<ProblemOptions>();
  auto wait = std::make_shared<bool>(false);
  auto force = std::make_shared<bool>(false);
  problem->add(*command);
  command->add_flag("--wait", *wait, "Wait for the result and show it");
  command->add_flag("--force", *force, "Measure again what is measured already");
  command->callback([&session, problem, wait, force] {
    conduct(session, [&](AdminChannel& channel) {
      Json request{{"request", "verify"}};
      problem->fill(request);
      request["wait"] = *wait;
      request["force"] = *force;
      const Json reply = ask(channel, request);
      show_verification(session, reply, *wait);
    });
  });
}

}  // namespace reformer::cli
