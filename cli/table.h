#pragma once

#include <cstddef>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

namespace reformer::cli {

// What a cell says beyond its text: a colour, where colours are on.
enum class Tone { kPlain, kGood, kWarning, kBad, kFaint, kTitle };

struct Cell {
  Cell(std::string cell_text, Tone cell_tone = Tone::kPlain)  // NOLINT: cells are mostly text
      : text(std::move(cell_text)), tone(cell_tone) {}
  Cell(const char* cell_text) : text(cell_text) {}  // NOLINT

  std::string text;
  Tone tone;
};

enum class Align { kLeft, kRight };
// Columns that shrink give way, widest first, when the table does not fit; the others never do.
enum class Fit { kKeep, kShrink };

struct Column {
  std::string title;
  Align align = Align::kLeft;
  Fit fit = Fit::kKeep;
};

// Rows in aligned columns, two blanks between them, at most `width` columns wide; what does not fit
// ends in "…". Text is made printable. A table without rows prints nothing but its heading.
class Table {
 public:
  static constexpr std::size_t kWidth = 100;

  explicit Table(std::vector<Column> columns);
  // As many cells as columns.
  void add(std::vector<Cell> row);
  [[nodiscard]] bool empty() const { return rows_.empty(); }
  void print(std::ostream& out, bool colour, std::size_t width = kWidth) const;

 private:
  [[nodiscard]] std::vector<std::size_t> widths(std::size_t limit) const;

  std::vector<Column> columns_;
  std::vector<std::vector<Cell>> rows_;
};

// "name  value" lines, values aligned: what single-object replies are shown as.
class Facts {
 public:
  void add(std::string name, Cell value);
  void print(std::ostream& out, bool colour) const;

 private:
  std::vector<std::pair<std::string, Cell>> facts_;
};

// Terminal columns of UTF-8 text, counting one a code point.
[[nodiscard]] std::size_t display_width(std::string_view text);
[[nodiscard]] std::string in_tone(const std::string& text, Tone tone, bool colour);

}  // namespace reformer::cli
