#include "cli/ablation_page.h"

#include "cli/units.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>

namespace reformer::cli {
namespace {

constexpr double kWidth = 760;
constexpr double kHeight = 300;
constexpr double kMargin = 50;
constexpr std::size_t kBuckets = 40;  // points of a line over time
constexpr std::array<const char*, 8> kColours{
    "#1b6ca8", "#d1495b", "#3a7d44", "#edae49", "#6a4c93", "#00798c", "#8d5524", "#444444"};

constexpr const char* kHead = R"(<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>reformerd: online ablation</title>
<style>
body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:.2rem .6rem;text-align:right;border-bottom:1px solid #ddd}
th:first-child,td:first-child{text-align:left}
svg{max-width:100%;height:auto}text{font-size:12px;fill:#444}
</style></head><body>
)";

// Values on one axis of a plot. Equal ends are spread, so that a single value has a place.
class Axis {
 public:
  void include(double value) {
    low_ = std::min(low_, value);
    high_ = std::max(high_, value);
  }
  [[nodiscard]] bool empty() const { return low_ > high_; }
  [[nodiscard]] double low() const { return low_; }
  [[nodiscard]] double high() const { return high_; }
  [[nodiscard]] double place(double value, double from, double to) const {
    const double span = high_ - low_;
    return span > 0 ? from + (value - low_) / span * (to - from) : (from + to) / 2;
  }
  [[nodiscard]] double x(double value) const { return place(value, kMargin, kWidth - kMargin); }
  [[nodiscard]] double y(double value) const { return place(value, kHeight - kMargin, kMargin); }

 private:
  double low_ = std::numeric_limits<double>::infinity();
  double high_ = -std::numeric_limits<double>::infinity();
};

std::string label(double x, double y, const char* anchor, const std::string& text) {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>\n",
                     x,
                     y,
                     anchor,
                     escape_html(text));
}

std::string frame(const Axis& x,
                  const Axis& y,
                  const std::string& x_low,
                  const std::string& x_high,
                  const std::string& x_title,
                  const std::string& y_title) {
  std::string svg = fmt::format(
      "<svg viewBox=\"0 0 {0} {1}\" role=\"img\"><rect x=\"{2}\" y=\"{2}\" width=\"{3}\" "
      "height=\"{4}\" fill=\"none\" stroke=\"#ccc\"/>\n",
      kWidth,
      kHeight,
      kMargin,
      kWidth - 2 * kMargin,
      kHeight - 2 * kMargin);
  svg += label(x.x(x.low()), kHeight - kMargin + 16, "start", x_low);
  svg += label(x.x(x.high()), kHeight - kMargin + 16, "end", x_high);
  svg += label(kWidth / 2, kHeight - 12, "middle", x_title);
  svg += label(kMargin - 6, y.y(y.low()), "end", fmt::format("{:.3f}", y.low()));
  svg += label(kMargin - 6, y.y(y.high()) + 4, "end", fmt::format("{:.3f}", y.high()));
  svg += label(kMargin, kMargin - 14, "start", y_title);
  return svg;
}

std::string date_text(double time_s) {
  const auto time = static_cast<std::time_t>(time_s);
  std::tm parts{};
  std::array<char, 32> text{};
  if (gmtime_r(&time, &parts) == nullptr ||
      std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M UTC", &parts) == 0) {
    return "-";
  }
  return text.data();
}

// "0.6123 (0.6001-0.6240)"; without the interval where there is none.
std::string with_interval(const Json& variant, const char* name) {
  const double value = number_or_nan(variant, name);
  if (!std::isfinite(value)) {
    return "-";
  }
  std::string text = fmt::format("{:.4f}", value);
  const auto intervals = variant.find("interval");
  if (intervals != variant.end() && intervals->is_object()) {
    const auto found = intervals->find(name);
    if (found != intervals->end() && found->is_array() && found->size() == 2 &&
        (*found)[0].is_number() && (*found)[1].is_number()) {
      text += fmt::format(" ({:.4f}-{:.4f})", (*found)[0].get<double>(), (*found)[1].get<double>());
    }
  }
  return text;
}

double inference_p50(const Json& variant) {
  const auto inference = variant.find("inference_us");
  return inference != variant.end() && inference->is_object()
             ? number_or_nan(*inference, "p50")
             : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace

std::string escape_html(std::string_view text) {
  std::string out;
  for (const char c : printable(text)) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

void AblationPage::add_row(const Json& row) {
  const double slowdown = number_or_nan(row, "slowdown");
  if (flag_or(row, "covered", true) && std::isfinite(slowdown) && slowdown > 0) {
    series_[text_of(row, "variant")].push_back({integer_of(row, "time_s"), slowdown});
  }
}

std::string AblationPage::table() const {
  constexpr std::array<std::pair<const char*, const char*>, 6> kFigures{
      {{"top1", "top-1"},
       {"top3", "top-3"},
       {"within_5pct", "within 5 %"},
       {"geomean_slowdown", "slowdown"},
       {"p90_slowdown", "p90"},
       {"p99_slowdown", "p99"}}};
  std::string html = "<table><tr><th>variant</th><th>n</th>";
  for (const auto& figure : kFigures) {
    html += fmt::format("<th>{}</th>", figure.second);
  }
  html += "<th>inference p50</th></tr>\n";
  for (const Json& variant : array_of(report_, "variants")) {
    html += fmt::format("<tr><td>{}</td><td>{}</td>",
                        escape_html(text_of(variant, "name")),
                        count_of(variant, "n"));
    for (const auto& figure : kFigures) {
      html += fmt::format("<td>{}</td>", with_interval(variant, figure.first));
    }
    html += fmt::format("<td>{}</td></tr>\n", human_us(inference_p50(variant)));
  }
  return html + "</table>\n";
}

std::string AblationPage::accuracy_plot() const {
  Axis x;
  Axis y;
  const Json& variants = array_of(report_, "variants");
  const auto point = [](const Json& variant) -> std::optional<std::pair<double, double>> {
    const double us = inference_p50(variant);
    const double top1 = number_or_nan(variant, "top1");
    return us > 0 && std::isfinite(us + top1) ? std::optional(std::pair(us, top1)) : std::nullopt;
  };
  for (const Json& variant : variants) {
    if (const auto at = point(variant)) {
      x.include(at->first);
      y.include(at->second);
    }
  }
  if (x.empty()) {
    return "<p>No variant has inference times yet.</p>\n";
  }
  std::string svg = frame(x, y, human_us(x.low()), human_us(x.high()), "inference, p50", "top-1");
  std::size_t colour = 0;
  for (const Json& variant : variants) {
    if (const auto at = point(variant)) {
      svg += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"5\" fill=\"{}\"/>\n",
                         x.x(at->first),
                         y.y(at->second),
                         kColours[colour % kColours.size()]);
      svg += label(x.x(at->first) + 8, y.y(at->second) - 6, "start", text_of(variant, "name"));
    }
    ++colour;
  }
  return svg + "</svg>\n";
}

std::string AblationPage::time_plot() const {
  Axis x;
  for (const auto& [name, points] : series_) {
    for (const Point& point : points) {
      x.include(static_cast<double>(point.time_s));
    }
  }
  if (x.empty()) {
    return "<p>The accuracy log is empty.</p>\n";
  }
  Axis y;
  // Geometric means over equal stretches of time.
  std::map<std::string, std::vector<std::pair<double, double>>> lines;
  for (const auto& [name, points] : series_) {
    std::array<double, kBuckets> sums{};
    std::array<std::size_t, kBuckets> counts{};
    for (const Point& point : points) {
      const double share = x.place(static_cast<double>(point.time_s), 0, 1);
      const auto bucket = std::min(kBuckets - 1, static_cast<std::size_t>(share * kBuckets));
      sums[bucket] += std::log(point.slowdown);
      ++counts[bucket];
    }
    for (std::size_t i = 0; i < kBuckets; ++i) {
      if (counts[i] > 0) {
        const double mean = std::exp(sums[i] / static_cast<double>(counts[i]));
        lines[name].emplace_back((static_cast<double>(i) + 0.5) / kBuckets, mean);
        y.include(mean);
      }
    }
  }
  std::string svg = frame(x,
                          y,
                          date_text(x.low()),
                          date_text(x.high()),
                          "time of verification",
                          "slowdown against the fastest (geometric mean)");
  std::size_t colour = 0;
  for (const auto& [name, points] : lines) {
    const char* stroke = kColours[colour % kColours.size()];
    svg +=
        fmt::format("<polyline fill=\"none\" stroke-width=\"2\" stroke=\"{}\" points=\"", stroke);
    for (const auto& [share, mean] : points) {
      svg += fmt::format("{:.1f},{:.1f} ", kMargin + share * (kWidth - 2 * kMargin), y.y(mean));
    }
    svg += fmt::format("\"><title>{}</title></polyline>\n", escape_html(name));
    svg += fmt::format(
        "<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"end\" style=\"fill:{}\">{}</text>\n",
        kWidth - kMargin - 4,
        kMargin + 16 + 14 * static_cast<double>(colour),
        stroke,
        escape_html(name));
    ++colour;
  }
  return svg + "</svg>\n";
}

std::string verified_problems(const Json& report) {
  const std::string view = text_or(report, "view", "all");
  return view == "without_tensor_cores" ? "verified f32 problems without tensor cores"
         : view == "deterministic" ? "verified f32 problems without tensor cores, deterministic"
                                   : "verified problems";
}

std::string AblationPage::html() const {
  return std::string(kHead) + "<h1>Online ablation</h1>\n<p>" +
         human_count(count_of(report_, "problems")) + " " + verified_problems(report_) + ".</p>\n" +
         table() + "<h2>Accuracy against inference time</h2>\n" + accuracy_plot() +
         "<h2>Slowdown over time</h2>\n" + time_plot() + "</body></html>\n";
}

}  // namespace reformer::cli
