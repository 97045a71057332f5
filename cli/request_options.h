#pragma once

#include "cli/reply.h"

#include <CLI/CLI.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

// Options that several subcommands share, and the request members that they become. Declare them
// with add(), then call fill() from the callback.
namespace reformer::cli {

// Sets `problem` (in its canonical form) where there are words. Throws a usage Failure that names
// the word which is wrong.
void put_problem(Json& request, const std::vector<std::string>& words);

// A problem in words, and where it runs.
class ProblemOptions {
 public:
  void add(CLI::App& command);
  // Sets `problem`, `device` and `cudnn`. Throws as put_problem.
  void fill(Json& request) const;

 private:
  std::vector<std::string> words_;
  std::string device_;
  std::int64_t cudnn_ = 0;
};

// Which records: `list`, `export`, `forget`.
class FilterOptions {
 public:
  void add(CLI::App& command);
  void fill(Json& request) const;

 private:
  std::string op_, dtype_, layout_, device_, contains_;
  std::int64_t cudnn_ = 0;
};

// As whom f32 problems are looked at, in the words of model::View: `eval`, `ablation`, `accuracy`.
struct ViewOptions {
  bool without_tensor_cores = false;
  bool deterministic = false;  // only with the other

  void add(CLI::App& command);
};

// Which rows of the accuracy log: `ablation`, `accuracy`.
class AccuracyOptions {
 public:
  void add(CLI::App& command);
  void fill(Json& request) const;

 private:
  std::string op_, dtype_, layout_, device_, since_;
  ViewOptions view_;
  bool weighted_by_use_ = false;
  bool uncorrected_ = false;
};

// What the asking application will not run: `explain`, `query`.
class ConstraintOptions {
 public:
  void add(CLI::App& command);
  void fill(Json& request) const;

 private:
  bool deterministic_ = false;
  bool no_tensor_core_ = false;
  bool no_down_convert_ = false;
  bool no_winograd_ = false;
  std::optional<std::uint64_t> max_workspace_bytes_;
  std::optional<double> max_build_us_;
};

// "90", "90s", "15m", "6h", "7d", "2w" as seconds; empty where it is something else.
[[nodiscard]] std::optional<std::int64_t> parse_duration_s(std::string_view text);

}  // namespace reformer::cli
