#pragma once

#include <cstddef>
#include <span>
#include <vector>

// Every parser of bytes from outside (clients, the daemon, files), and inputs that each accepts.
namespace reformer::fuzz {

using Bytes = std::vector<std::byte>;

struct Parser {
  const char* name;
  // Must bear anything. Aborts where what it accepts is not what it seems.
  void (*parse)(std::span<const std::byte>);
};
[[nodiscard]] std::span<const Parser> parsers();

// Whether sums and versions are put right as the parsers want them: otherwise what is behind them
// is never reached.
[[nodiscard]] bool sealed_model_decodes();

// Valid inputs, in the order of parsers().
[[nodiscard]] std::vector<std::vector<Bytes>> seeds();

}  // namespace reformer::fuzz
