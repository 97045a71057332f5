#include "cli/commands.h"
#include "cli/reply.h"
#include "cli/table.h"
#include "cli/units.h"

#include <fmt/format.h>

#include <string>

// reformerctl stats: the daemon's counters.
namespace reformer::cli {
namespace {

// Latencies are objects of objects; everything else is a counter, known to this version or not.
void print_stats(Session& session, const Json& stats) {
  Facts facts;
  for (const auto& [name, value] : stats.items()) {
    if (value.is_number()) {
      std::string label = name;
      std::replace(label.begin(), label.end(), '_', ' ');
      facts.add(label,
                value.is_number_unsigned() ? human_count(value.get<std::uint64_t>())
                                           : fmt::format("{}", value.get<double>()));
    }
  }
  facts.print(*session.out, session.colour);

  Table table(
      {{"latency"}, {"p50", Align::kRight}, {"p99", Align::kRight}, {"samples", Align::kRight}});
  for (const auto& [name, latency] : object_of(stats, "latency_us").items()) {
    table.add({name,
               human_us(number_of(latency, "p50")),
               human_us(number_of(latency, "p99")),
               human_count(count_of(latency, "n"))});
  }
  *session.out << '\n';
  table.print(*session.out, session.colour);
}

}  // namespace

void add_stats(CLI::App& app, Session& session) {
  CLI::App* command = app.add_subcommand("stats", "Counters and latencies since the daemon started")
                          ->group(group::kLook);
  command->callback([&session] {
    conduct(session, [&](AdminChannel& channel) {
      const Json stats = ask(channel, {{"request", "stats"}});
      session.json ? print_json(session, stats) : print_stats(session, stats);
    });
  });
}

}  // namespace reformer::cli
