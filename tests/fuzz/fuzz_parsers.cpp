// Every parser under mutations of valid inputs, for as many seconds as it is told, with any
// compiler. It finds what crashes, hangs or, built with a sanitizer, goes out of bounds. The preset
// `fuzz` has better ones for hours: libfuzzer.cpp.
//
//   fuzz_parsers [SECONDS [SEED]]
//   fuzz_parsers --write FOLDER      the valid inputs, a folder for each parser
#include "tests/fuzz/parsers.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>

namespace {

using namespace reformer::fuzz;

void mutate(Bytes& bytes, std::mt19937_64& random) {
  for (auto changes = 1 + random() % 4; changes > 0 && !bytes.empty(); --changes) {
    const std::size_t at = random() % bytes.size();
    switch (random() % 5) {
      case 0:
        bytes[at] ^= static_cast<std::byte>(1U << (random() % 8));
        break;
      case 1:
        bytes[at] = static_cast<std::byte>(random());
        break;
      case 2:
        bytes.resize(at);
        break;
      case 3:
        bytes.insert(bytes.begin() + static_cast<std::ptrdiff_t>(at),
                     bytes[random() % bytes.size()]);
        break;
      default:
        bytes[at] = random() % 2 == 0 ? std::byte{0xff} : std::byte{0};
    }
  }
}

void write(const std::filesystem::path& folder) {
  const auto valid = seeds();
  for (std::size_t which = 0; which < valid.size(); ++which) {
    const auto place = folder / parsers()[which].name;
    std::filesystem::create_directories(place);
    for (std::size_t i = 0; i < valid[which].size(); ++i) {
      const std::string name = "valid_" + std::to_string(i);
      std::ofstream(place / name, std::ios::binary)
          .write(reinterpret_cast<const char*>(valid[which][i].data()),
                 static_cast<std::streamsize>(valid[which][i].size()));
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 3 && std::string(argv[1]) == "--write") {
    write(argv[2]);
    return 0;
  }
  if (!sealed_model_decodes()) {
    std::fprintf(stderr, "model_file: a valid input does not decode once it is sealed\n");
    return 1;
  }
  const double seconds = argc > 1 ? std::atof(argv[1]) : 3;
  std::mt19937_64 random(argc > 2 ? static_cast<unsigned>(std::atoi(argv[2])) : 1);
  const auto valid = seeds();
  std::size_t which = 0;
  for (const Parser& parser : parsers()) {
    using Clock = std::chrono::steady_clock;
    const auto end = Clock::now() +
                     std::chrono::duration<double>(seconds / static_cast<double>(parsers().size()));
    std::uint64_t inputs = 0;
    for (const Bytes& seed : valid[which]) {
      parser.parse(seed);
    }
    for (; Clock::now() < end; ++inputs) {
      Bytes bytes = valid[which][random() % valid[which].size()];
      mutate(bytes, random);
      parser.parse(bytes);
    }
    std::printf("%s: %llu inputs\n", parser.name, static_cast<unsigned long long>(inputs));
    ++which;
  }
}
