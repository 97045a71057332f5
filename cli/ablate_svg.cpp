#include "cli/ablate_svg.h"

#include "cli/ablation_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace reformer::cli {
namespace {

constexpr double kWidth = 760;
constexpr double kHeight = 360;
constexpr double kLeft = 64;
constexpr double kRight = 20;
constexpr double kTop = 16;
constexpr double kBottom = 46;
constexpr std::array<const char*, 10> kColours{"#1b6ca8",
                                               "#d1495b",
                                               "#3a7d44",
                                               "#edae49",
                                               "#6a4c93",
                                               "#00798c",
                                               "#8d5524",
                                               "#444444",
                                               "#c77dff",
                                               "#7a9e00"};

std::string text(double x, double y, const char* anchor, std::string_view words) {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>\n",
                     x,
                     y,
                     anchor,
                     escape_html(words));
}

std::string segment(double x1, double y1, double x2, double y2, const char* attributes) {
  return fmt::format("<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" {}/>\n",
                     x1,
                     y1,
                     x2,
                     y2,
                     attributes);
}

// 1, 2 or 5 times a power of ten, so that about six fit.
std::vector<double> linear_ticks(double low, double high) {
  const double rough = (high - low) / 6;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  const double step = power * (rough <= power       ? 1
                               : rough <= 2 * power ? 2
                               : rough <= 5 * power ? 5
                                                    : 10);
  std::vector<double> ticks;
  for (double i = std::ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; ++i) {
    ticks.push_back(i * step + 0.0);  // not "-0"
  }
  return ticks;
}

std::vector<double> log_ticks(double low, double high) {
  if (high / low < 4) {
    return linear_ticks(low, high);
  }
  std::vector<double> ticks;
  const auto first = static_cast<int>(std::floor(std::log10(low)));
  const auto last = static_cast<int>(std::floor(std::log10(high)));
  for (int exponent = first; exponent <= last; ++exponent) {
    const double power = std::pow(10, exponent);
    for (const double factor : {1.0, 2.0, 5.0}) {
      if (factor * power >= low && factor * power <= high) {
        ticks.push_back(factor * power);
      }
    }
  }
  return ticks;
}

std::vector<double> ticks_of(const PlotAxis& axis) {
  return axis.scale == Scale::kLog ? log_ticks(axis.low, axis.high)
                                   : linear_ticks(axis.low, axis.high);
}

double share_of(const PlotAxis& axis, double value) {
  value = std::clamp(value, axis.low, axis.high);
  return axis.scale == Scale::kLog ? std::log(value / axis.low) / std::log(axis.high / axis.low)
                                   : (value - axis.low) / (axis.high - axis.low);
}

}  // namespace

const char* plot_colour(std::size_t number) {
  return kColours[number % kColours.size()];
}

Plot::Plot(PlotAxis x, PlotAxis y) : x_(std::move(x)), y_(std::move(y)) {
  draw_frame();
}

double Plot::place_x(double value) const {
  return kLeft + share_of(x_, value) * (kWidth - kLeft - kRight);
}
double Plot::place_y(double value) const {
  return kHeight - kBottom - share_of(y_, value) * (kHeight - kTop - kBottom);
}

void Plot::draw_frame() {
  for (const double tick : ticks_of(x_)) {
    const double x = place_x(tick);
    body_ += segment(x, kTop, x, kHeight - kBottom, "stroke=\"#e4e4e4\"");
    body_ += text(x, kHeight - kBottom + 16, "middle", fmt::format("{:.4g}", tick));
  }
  for (const double tick : ticks_of(y_)) {
    const double y = place_y(tick);
    body_ += segment(kLeft, y, kWidth - kRight, y, "stroke=\"#e4e4e4\"");
    body_ += text(kLeft - 6, y + 4, "end", fmt::format("{:.4g}", tick));
  }
  body_ += fmt::format(
      "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"none\" stroke=\"#999\"/>\n",
      kLeft,
      kTop,
      kWidth - kLeft - kRight,
      kHeight - kTop - kBottom);
  body_ += text((kLeft + kWidth - kRight) / 2, kHeight - 8, "middle", x_.title);
  body_ += fmt::format(
      "<text transform=\"translate(14 {:.1f}) rotate(-90)\" text-anchor=\"middle\">{}</text>\n",
      (kTop + kHeight - kBottom) / 2,
      escape_html(y_.title));
}

void Plot::line(std::span<const PlotPoint> points, std::size_t colour) {
  body_ += fmt::format("<polyline fill=\"none\" stroke-width=\"1.8\" stroke=\"{}\" points=\"",
                       plot_colour(colour));
  for (const PlotPoint& point : points) {
    body_ += fmt::format("{:.1f},{:.1f} ", place_x(point.x), place_y(point.y));
  }
  body_ += "\"/>\n";
}

void Plot::dashed_line(PlotPoint from, PlotPoint to) {
  body_ += segment(place_x(from.x),
                   place_y(from.y),
                   place_x(to.x),
                   place_y(to.y),
                   "stroke=\"#999\" stroke-dasharray=\"5 4\"");
}

void Plot::dot(PlotPoint at,
               std::pair<double, double> x_interval,
               std::pair<double, double> y_interval,
               std::size_t colour,
               std::string_view name) {
  const double x = place_x(at.x);
  const double y = place_y(at.y);
  const std::string stroke = fmt::format("stroke=\"{}\"", plot_colour(colour));
  body_ += segment(x, place_y(y_interval.first), x, place_y(y_interval.second), stroke.c_str());
  body_ += segment(place_x(x_interval.first), y, place_x(x_interval.second), y, stroke.c_str());
  body_ += fmt::format(
      "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4.5\" fill=\"{}\"><title>{}: {:.4g}, "
      "{:.4g}</title></circle>\n",
      x,
      y,
      plot_colour(colour),
      escape_html(name),
      at.x,
      at.y);
  const bool left = x > kWidth * 0.75;
  body_ += text(left ? x - 8 : x + 8, y - 6, left ? "end" : "start", name);
}

void Plot::bar(double x_low, double x_high, double y, std::size_t colour, std::string_view tip) {
  body_ += fmt::format(
      "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" "
      "fill=\"{}\" fill-opacity=\"0.35\"><title>{}</title></rect>\n",
      place_x(x_low),
      place_y(y),
      place_x(x_high) - place_x(x_low),
      place_y(y_.low) - place_y(y),
      plot_colour(colour),
      escape_html(tip));
}

void Plot::legend(std::size_t colour, std::string_view name) {
  const double y = kTop + 20 + 16 * static_cast<double>(legend_lines_++);
  body_ += fmt::format("<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"10\" height=\"10\" fill=\"{}\"/>\n",
                       kWidth - kRight - 20,
                       y - 9,
                       plot_colour(colour));
  body_ += text(kWidth - kRight - 26, y, "end", name);
}

std::string Plot::svg() const {
  return fmt::format("<svg viewBox=\"0 0 {} {}\" role=\"img\">\n", kWidth, kHeight) + body_ +
         "</svg>\n";
}

std::string matrix_svg(std::span<const std::string> rows,
                       std::span<const std::string> columns,
                       std::span<const std::size_t> counts) {
  constexpr double kCell = 44;
  constexpr double kNames = 190;
  const double width = kNames + kCell * static_cast<double>(columns.size()) + 10;
  const double height = kNames + kCell * static_cast<double>(rows.size()) + 10;
  std::string svg = fmt::format("<svg viewBox=\"0 0 {} {}\" role=\"img\">\n", width, height);
  svg += text(6, 16, "start", "fastest (rows), chosen (columns); % of the row");
  for (std::size_t c = 0; c < columns.size(); ++c) {
    svg += fmt::format("<text transform=\"translate({:.1f} {:.1f}) rotate(-60)\">{}</text>\n",
                       kNames + kCell * (static_cast<double>(c) + 0.5),
                       kNames - 8,
                       escape_html(columns[c]));
  }
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const double y = kNames + kCell * static_cast<double>(r);
    svg += text(kNames - 8, y + kCell / 2 + 4, "end", rows[r]);
    std::size_t total = 0;
    for (std::size_t c = 0; c < columns.size(); ++c) {
      total += counts[r * columns.size() + c];
    }
    for (std::size_t c = 0; c < columns.size(); ++c) {
      const std::size_t count = counts[r * columns.size() + c];
      const double share = total > 0 ? static_cast<double>(count) / static_cast<double>(total) : 0;
      const double x = kNames + kCell * static_cast<double>(c);
      svg += fmt::format(
          "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{}\" height=\"{}\" fill=\"{}\" "
          "fill-opacity=\"{:.3f}\" stroke=\"#ddd\"><title>{} of {}</title></rect>\n",
          x,
          y,
          kCell,
          kCell,
          plot_colour(r == c ? 2 : 1),
          share,
          count,
          total);
      if (count > 0) {
        svg += text(x + kCell / 2, y + kCell / 2 + 4, "middle", fmt::format("{:.0f}", 100 * share));
      }
    }
  }
  return svg + "</svg>\n";
}

}  // namespace reformer::cli
