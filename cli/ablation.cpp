#include "cli/ablation_page.h"
#include "cli/atomic_file.h"
#include "cli/commands.h"
#include "cli/reply.h"
#include "cli/request_options.h"
#include "cli/table.h"
#include "cli/units.h"

#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <memory>
#include <span>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

// reformerctl ablation: how right every model was on this host's verified problems.
namespace reformer::cli {
namespace {

constexpr auto kWatchInterval = std::chrono::seconds(2);

struct AblationOptions {
  AccuracyOptions filters;
  std::string html;
  bool watch = false;
};

// "1.042" or, with its interval, "1.042 (1.031-1.055)".
std::string figure_text(
    double value, const Json& variant, const char* interval_name, double scale, int digits) {
  if (std::isnan(value)) {
    return "-";
  }
  std::string text = fmt::format("{:.{}f}", value * scale, digits);
  const auto intervals = variant.find("interval");
  if (intervals != variant.end() && intervals->is_object()) {
    const auto found = intervals->find(interval_name);
    if (found != intervals->end() && found->is_array() && found->size() == 2 &&
        (*found)[0].is_number() && (*found)[1].is_number()) {
      text += fmt::format(" ({:.{}f}-{:.{}f})",
                          (*found)[0].get<double>() * scale,
                          digits,
                          (*found)[1].get<double>() * scale,
                          digits);
    }
  }
  return text;
}

std::string with_interval(const Json& variant, const char* name, double scale, int digits) {
  return figure_text(number_or_nan(variant, name), variant, name, scale, digits);
}

std::string inference_text(const Json& variant, const char* name, const char* interval_name) {
  const auto inference = variant.find("inference_us");
  return inference != variant.end() && inference->is_object()
             ? figure_text(number_or_nan(*inference, name), variant, interval_name, 1, 1)
             : "-";
}

// A variant and what its row is called.
using Labelled = std::pair<std::string, const Json*>;

void print_accuracy(Session& session, const std::string& title, std::span<const Labelled> rows) {
  Table table({{title},
               {"n", Align::kRight},
               {"top-1 %", Align::kRight},
               {"top-3 %", Align::kRight},
               {"within 5 %", Align::kRight},
               {"slowdown (geomean)", Align::kRight}});
  for (const auto& [label, variant] : rows) {
    table.add({label,
               human_count(count_of(*variant, "n")),
               with_interval(*variant, "top1", 100, 1),
               with_interval(*variant, "top3", 100, 1),
               with_interval(*variant, "within_5pct", 100, 1),
               with_interval(*variant, "geomean_slowdown", 1, 3)});
  }
  table.print(*session.out, session.colour);
}

void print_tails(Session& session, const std::string& title, std::span<const Labelled> rows) {
  Table table({{title},
               {"p90", Align::kRight},
               {"p99", Align::kRight},
               {"served", Align::kRight},
               {"abstained %", Align::kRight}});
  for (const auto& [label, variant] : rows) {
    const auto served = variant->find("served");
    table.add({label,
               with_interval(*variant, "p90_slowdown", 1, 2),
               with_interval(*variant, "p99_slowdown", 1, 2),
               served != variant->end() && served->is_object()
                   ? with_interval(*served, "geomean_slowdown", 1, 3)
                   : std::string("-"),
               with_interval(*variant, "abstained_share", 100, 1)});
  }
  *session.out << '\n';
  table.print(*session.out, session.colour);
}

void print_costs(Session& session, const std::string& title, std::span<const Labelled> rows) {
  Table table({{title},
               {"inference p50, us", Align::kRight},
               {"inference p99, us", Align::kRight},
               {"max", Align::kRight},
               {"total time", Align::kRight}});
  for (const auto& [label, variant] : rows) {
    table.add({label,
               inference_text(*variant, "p50", "inference_p50_us"),
               inference_text(*variant, "p99", "inference_p99_us"),
               human_factor(number_or_nan(*variant, "max_slowdown")),
               human_factor(number_or_nan(*variant, "total_time_ratio"))});
  }
  *session.out << '\n';
  table.print(*session.out, session.colour);
}

// Only variants that the daemon compared with the champion are here.
void print_paired(Session& session, const Json& variants) {
  Table table({{"against the champion", Align::kLeft, Fit::kShrink},
               {"difference", Align::kRight},
               {"95 % interval", Align::kRight},
               {"served", Align::kRight},
               {"p", Align::kRight},
               {"p adjusted", Align::kRight}});
  for (const Json& variant : variants) {
    const auto paired = variant.find("paired");
    if (paired == variant.end() || !paired->is_object()) {
      continue;
    }
    const double adjusted = number_or_nan(*paired, "p_adjusted");
    const double difference = number_or_nan(*paired, "difference");
    const Json& interval = array_of(*paired, "interval");
    const bool complete =
        interval.size() == 2 && interval[0].is_number() && interval[1].is_number();
    table.add({text_of(variant, "name"),
               fmt::format("{:+.4f}", difference),
               complete
                   ? fmt::format(
                         "{:+.4f} to {:+.4f}", interval[0].get<double>(), interval[1].get<double>())
                   : std::string("-"),
               fmt::format("{:+.4f}", number_or_nan(*paired, "served_difference")),
               fmt::format("{:.3g}", number_or_nan(*paired, "p_value")),
               {fmt::format("{:.3g}", adjusted),
                adjusted < 0.05 ? (difference > 0 ? Tone::kBad : Tone::kGood) : Tone::kPlain}});
  }
  if (!table.empty()) {
    *session.out << '\n';
    table.print(*session.out, session.colour);
  }
}

void print_tables(Session& session, const std::string& title, std::span<const Labelled> rows) {
  print_accuracy(session, title, rows);
  print_tails(session, title, rows);
  print_costs(session, title, rows);
}

// The tables of a study, where at least two of its variants are there.
void print_study(Session& session, const Json& study, const Json& variants) {
  std::vector<Labelled> rows;
  for (const Json& row : array_of(study, "rows")) {
    const std::string name = text_of(row, "variant");
    for (const Json& variant : variants) {
      if (text_of(variant, "name") == name) {
        rows.emplace_back(text_of(row, "label"), &variant);
      }
    }
  }
  if (rows.size() < 2) {
    return;
  }
  *session.out << '\n'
               << in_tone(printable(text_of(study, "title")), Tone::kTitle, session.colour)
               << "\n\n";
  print_tables(session, "variant", rows);
}

void print_report(Session& session, const Json& report) {
  *session.out << human_count(count_of(report, "problems")) << ' ' << verified_problems(report)
               << ", in brackets 95 % intervals";
  const std::uint64_t waiting = count_or(report, "waiting", 0);
  if (waiting > 0) {
    *session.out << "; " << human_count(waiting) << " more wait";
  }
  if (flag_or(report, "weighted", false)) {
    *session.out << "; weighted";
  }
  *session.out << "\n\n";
  const Json& variants = array_of(report, "variants");
  std::vector<Labelled> all;
  for (const Json& variant : variants) {
    const bool champion = flag_or(variant, "champion", false);
    all.emplace_back(text_of(variant, "name") + (champion ? " (champion)" : ""), &variant);
  }
  print_tables(session, "all variants", all);
  print_paired(session, variants);
  if (report.contains("studies")) {
    for (const Json& study : array_of(report, "studies")) {
      print_study(session, study, variants);
    }
  }
}

// Until interrupted, or until the daemon goes away.
void watch(Session& session, AdminChannel& channel, const Json& request) {
  while (true) {
    const Json report = ask(channel, request);
    *session.out << (session.colour ? "\x1b[H\x1b[2J" : "");
    print_report(session, report);
    *session.out << std::flush;
    std::this_thread::sleep_for(kWatchInterval);
  }
}

void write_page(Session& session,
                AdminChannel& channel,
                const Json& request,
                const Json& report,
                const std::string& path) {
  Json rows_request = request;
  rows_request["request"] = "accuracy";
  AblationPage page(report);
  ask_rows(channel, rows_request, [&](const Json& row) { page.add_row(row); });
  const std::string html = page.html();
  write_atomically(path, std::as_bytes(std::span(html)));
  *session.err << "report in " << path << '\n';
}

}  // namespace

void add_ablation(CLI::App& app, Session& session) {
  CLI::App* command =
      app.add_subcommand("ablation", "How right every model was on this host's verified problems")
          ->group(group::kModels);
  auto options = std::make_shared<AblationOptions>();
  options->filters.add(*command);
  command->add_option("--html", options->html, "Also write a page with plots over time")
      ->type_name("FILE");
  command->add_flag("--watch", options->watch, "Refresh every two seconds until interrupted");
  command->callback([&session, options] {
    conduct(session, [&](AdminChannel& channel) {
      Json request{{"request", "ablation"}};
      options->filters.fill(request);
      if (options->watch && !session.json) {
        watch(session, channel, request);
      }
      const Json report = ask(channel, request);
      session.json ? print_json(session, report) : print_report(session, report);
      if (!options->html.empty()) {
        write_page(session, channel, request, report, options->html);
      }
    });
  });
}

}  // namespace reformer::cli
