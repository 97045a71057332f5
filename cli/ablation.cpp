#include "cli/ablation_page.h"
#include "cli/atomic_file.h"
#include "cli/commands.h"
#include "cli/reply.h"
#include "cli/request_options.h"
#include "cli/table.h"
#include "cli/units.h"

#include <fmt/format.h>

#include <chrono>
#include <memory>
#include <span>
#include <sstream>
#include <string>
#include <thread>

// reformerctl ablation: how right every model was on this host's verified problems.
namespace reformer::cli {
namespace {

constexpr auto kWatchInterval = std::chrono::seconds(2);

struct AblationOptions {
  AccuracyOptions filters;
  std::string html;
  bool watch = false;
};

// " 1.042" or, with its interval, " 1.042 (1.031-1.055)".
std::string with_interval(const Json& variant, const char* name, double scale, int digits) {
  const double value = number_or_nan(variant, name);
  if (!(value == value)) {
    return "-";
  }
  std::string text = fmt::format("{:.{}f}", value * scale, digits);
  const auto intervals = variant.find("interval");
  if (intervals != variant.end() && intervals->is_object()) {
    const auto found = intervals->find(name);
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

void print_accuracy(Session& session, const Json& variants) {
  Table table({{"variant", Align::kLeft, Fit::kShrink},
               {"n", Align::kRight},
               {"top-1 %", Align::kRight},
               {"top-3 %", Align::kRight},
               {"within 5 %", Align::kRight},
               {"slowdown (geomean)", Align::kRight}});
  for (const Json& variant : variants) {
    table.add({text_of(variant, "name"),
               human_count(count_of(variant, "n")),
               with_interval(variant, "top1", 100, 1),
               with_interval(variant, "top3", 100, 1),
               with_interval(variant, "within_5pct", 100, 1),
               with_interval(variant, "geomean_slowdown", 1, 3)});
  }
  table.print(*session.out, session.colour);
}

std::string abstained_share(const Json& variant) {
  const double abstained = number_or_nan(variant, "abstained");
  const auto n = static_cast<double>(count_of(variant, "n"));
  return abstained <= 1 && n > 1 && abstained != 1 ? human_share(abstained)
         : n > 0                                   ? human_share(abstained / n)
                                                   : "-";
}

void print_tails(Session& session, const Json& variants) {
  Table table({{"variant", Align::kLeft, Fit::kShrink},
               {"p90", Align::kRight},
               {"p99", Align::kRight},
               {"max", Align::kRight},
               {"total time", Align::kRight},
               {"abstained", Align::kRight},
               {"inference p50", Align::kRight},
               {"p99", Align::kRight}});
  for (const Json& variant : variants) {
    const auto inference = variant.find("inference_us");
    const bool timed = inference != variant.end() && inference->is_object();
    const auto inference_us = [&](const char* name) {
      return timed ? human_us(number_or_nan(*inference, name)) : std::string("-");
    };
    table.add({text_of(variant, "name"),
               with_interval(variant, "p90_slowdown", 1, 2),
               with_interval(variant, "p99_slowdown", 1, 2),
               human_factor(number_or_nan(variant, "max_slowdown")),
               human_factor(number_or_nan(variant, "total_time_ratio")),
               abstained_share(variant),
               inference_us("p50"),
               inference_us("p99")});
  }
  *session.out << '\n';
  table.print(*session.out, session.colour);
}

// Only variants that the daemon compared with the champion are here.
void print_paired(Session& session, const Json& variants) {
  Table table({{"against the champion", Align::kLeft, Fit::kShrink},
               {"difference", Align::kRight},
               {"95 % interval", Align::kRight},
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
               fmt::format("{:.3g}", number_or_nan(*paired, "p_value")),
               {fmt::format("{:.3g}", adjusted),
                adjusted < 0.05 ? (difference > 0 ? Tone::kBad : Tone::kGood) : Tone::kPlain}});
  }
  if (!table.empty()) {
    *session.out << '\n';
    table.print(*session.out, session.colour);
  }
}

void print_report(Session& session, const Json& report) {
  const std::uint64_t problems = count_of(report, "problems");
  *session.out << human_count(problems) << " verified problems, intervals at 95 %\n\n";
  const Json& variants = array_of(report, "variants");
  print_accuracy(session, variants);
  print_tails(session, variants);
  print_paired(session, variants);
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
