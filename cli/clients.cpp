#include "cli/commands.h"
#include "cli/reply.h"
#include "cli/table.h"
#include "cli/units.h"

#include <fmt/format.h>

#include <string>

// reformerctl clients: which applications are connected, and how the shim fares in each.
namespace reformer::cli {
namespace {

void print_clients(Session& session, AdminChannel& channel) {
  Table table({{"pid", Align::kRight},
               {"uid", Align::kRight},
               {"program", Align::kLeft, Fit::kShrink},
               {"up", Align::kRight},
               {"queries", Align::kRight},
               {"hits", Align::kRight},
               {"pred.", Align::kRight},
               {"abst.", Align::kRight},
               {"passed", Align::kRight},
               {"failed", Align::kRight},
               {"last failure", Align::kLeft, Fit::kShrink}});
  ask_rows(channel, {{"request", "clients"}}, [&](const Json& client) {
    const std::uint64_t failures = count_or(client, "failures", 0);
    table.add({fmt::format("{}", integer_of(client, "pid")),
               fmt::format("{}", integer_of(client, "uid")),
               text_of(client, "program"),
               human_seconds(number_of(client, "connected_s")),
               human_count(count_of(client, "queries")),
               human_count(count_of(client, "hits")),
               human_count(count_of(client, "predicted")),
               human_count(count_of(client, "abstained")),
               human_count(count_or(client, "passed_through", 0)),
               {human_count(failures), failures > 0 ? Tone::kWarning : Tone::kPlain},
               text_or(client, "last_failure", "")});
  });
  if (table.empty()) {
    *session.out << "no clients are connected\n";
  } else {
    table.print(*session.out, session.colour);
  }
}

}  // namespace

void add_clients(CLI::App& app, Session& session) {
  CLI::App* command =
      app.add_subcommand("clients", "The connected applications")->group(group::kLook);
  command->callback([&session] {
    conduct(session, [&](AdminChannel& channel) {
      if (session.json) {
        print_json_rows(session, channel, {{"request", "clients"}});
      } else {
        print_clients(session, channel);
      }
    });
  });
}

}  // namespace reformer::cli
