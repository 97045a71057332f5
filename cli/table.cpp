#include "cli/table.h"

#include "cli/units.h"
#include "core/utf8.h"

#include <algorithm>
#include <cassert>
#include <numeric>

namespace reformer::cli {
namespace {

constexpr std::size_t kGap = 2;
constexpr std::size_t kNarrowest = 8;  // a shrinking column keeps so much

std::string truncate(const std::string& text, std::size_t width) {
  if (display_width(text) <= width) {
    return text;
  }
  std::size_t at = 0;
  for (std::size_t seen = 0; at < text.size(); ++at) {
    if (core::starts_code_point(text[at]) && seen++ == width - 1) {
      break;
    }
  }
  return text.substr(0, at) + "…";
}

const char* escape_of(Tone tone) {
  switch (tone) {
    case Tone::kPlain:
      return "";
    case Tone::kGood:
      return "\x1b[32m";
    case Tone::kWarning:
      return "\x1b[33m";
    case Tone::kBad:
      return "\x1b[31m";
    case Tone::kFaint:
      return "\x1b[2m";
    case Tone::kTitle:
      return "\x1b[1m";
  }
  return "";
}

void put_line(std::ostream& out,
              const std::vector<Column>& columns,
              const std::vector<Cell>& cells,
              const std::vector<std::size_t>& widths,
              bool colour) {
  std::string line;
  std::size_t owed = 0;  // blanks before the next cell: none at the end of a line
  for (std::size_t i = 0; i < cells.size(); ++i) {
    const std::string text = truncate(cells[i].text, widths[i]);
    const std::size_t blanks = widths[i] - display_width(text);
    const bool right = columns[i].align == Align::kRight;
    if (!text.empty()) {
      line.append(owed + (right ? blanks : 0), ' ');
      line += in_tone(text, cells[i].tone, colour);
      owed = right ? 0 : blanks;
    } else {
      owed += widths[i];
    }
    owed += kGap;
  }
  out << line << '\n';
}

}  // namespace

std::size_t display_width(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), core::starts_code_point));
}

std::string in_tone(const std::string& text, Tone tone, bool colour) {
  return colour && tone != Tone::kPlain ? escape_of(tone) + text + "\x1b[0m" : text;
}

Table::Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

void Table::add(std::vector<Cell> row) {
  assert(row.size() == columns_.size());
  for (Cell& cell : row) {
    cell.text = printable(cell.text);
  }
  rows_.push_back(std::move(row));
}

std::vector<std::size_t> Table::widths(std::size_t limit) const {
  std::vector<std::size_t> widths;
  for (const Column& column : columns_) {
    widths.push_back(display_width(column.title));
  }
  for (const auto& row : rows_) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], display_width(row[i].text));
    }
  }
  std::size_t total = std::accumulate(widths.begin(), widths.end(), kGap * (columns_.size() - 1));
  while (total > limit) {
    std::size_t widest = columns_.size();
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      if (columns_[i].fit == Fit::kShrink && widths[i] > kNarrowest &&
          (widest == columns_.size() || widths[i] > widths[widest])) {
        widest = i;
      }
    }
    if (widest == columns_.size()) {
      break;  // nothing can give way
    }
    --widths[widest];
    --total;
  }
  return widths;
}

void Table::print(std::ostream& out, bool colour, std::size_t width) const {
  const auto columns = widths(width);
  std::vector<Cell> titles;
  for (const Column& column : columns_) {
    titles.emplace_back(column.title, Tone::kTitle);
  }
  put_line(out, columns_, titles, columns, colour);
  for (const auto& row : rows_) {
    put_line(out, columns_, row, columns, colour);
  }
}

void Facts::add(std::string name, Cell value) {
  value.text = printable(value.text);
  facts_.emplace_back(std::move(name), std::move(value));
}

void Facts::print(std::ostream& out, bool colour) const {
  std::size_t width = 0;
  for (const auto& fact : facts_) {
    width = std::max(width, display_width(fact.first));
  }
  for (const auto& [name, value] : facts_) {
    out << in_tone(name, Tone::kTitle, colour)
        << std::string(width - display_width(name) + kGap, ' ')
        << in_tone(value.text, value.tone, colour) << '\n';
  }
}

}  // namespace reformer::cli
