#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

// Plots as inline SVG: no script, no style sheet, nothing fetched. Text is escaped.
namespace reformer::cli {

enum class Scale { kLinear, kLog };

struct PlotAxis {
  double low = 0;
  double high = 1;  // above low; both above 0 on a logarithmic axis
  std::string title;
  Scale scale = Scale::kLinear;
};

struct PlotPoint {
  double x = 0;
  double y = 0;
};

// One plot: a frame with ticks, and what is drawn into it. Values beyond the axes are drawn at the
// frame's edge. Colours are numbers: equal ones look equal in every plot of a page.
class Plot {
 public:
  Plot(PlotAxis x, PlotAxis y);

  void line(std::span<const PlotPoint> points, std::size_t colour);
  void dashed_line(PlotPoint from, PlotPoint to);
  // A dot with a cross of its intervals (low, high) and a name beside it.
  void dot(PlotPoint at,
           std::pair<double, double> x_interval,
           std::pair<double, double> y_interval,
           std::size_t colour,
           std::string_view name);
  void bar(double x_low, double x_high, double y, std::size_t colour, std::string_view tip);
  // A line in the legend; in the order of the calls.
  void legend(std::size_t colour, std::string_view name);

  [[nodiscard]] std::string svg() const;

 private:
  [[nodiscard]] double place_x(double value) const;
  [[nodiscard]] double place_y(double value) const;
  void draw_frame();

  PlotAxis x_;
  PlotAxis y_;
  std::string body_;
  std::size_t legend_lines_ = 0;
};

// A square matrix of shares of its rows as shaded cells: truth downwards, choice to the right.
// `rows` and `columns` are the names; `counts` is [rows][columns].
[[nodiscard]] std::string matrix_svg(std::span<const std::string> rows,
                                     std::span<const std::string> columns,
                                     std::span<const std::size_t> counts);

[[nodiscard]] const char* plot_colour(std::size_t number);

}  // namespace reformer::cli
