// One parser under libFuzzer: fuzz_NAME, with the preset `fuzz`.
#include "tests/fuzz/parsers.h"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace {

const reformer::fuzz::Parser& parser() {
  for (const auto& candidate : reformer::fuzz::parsers()) {
    if (std::string_view(candidate.name) == REFORMER_FUZZ_PARSER) {
      return candidate;
    }
  }
  std::fputs("no parser of this name\n", stderr);
  std::abort();
}

}  // namespace

extern "C" __attribute__((visibility("default"))) int LLVMFuzzerTestOneInput(
    const std::uint8_t* bytes, std::size_t size) {
  static const auto parse = parser().parse;
  parse(std::as_bytes(std::span(bytes, size)));
  return 0;
}
