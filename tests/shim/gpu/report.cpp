#include "tests/shim/gpu/report.h"

#include <cinttypes>
#include <cstdio>
#include <fstream>

namespace gpu_check {
namespace {

std::string between(const std::string& line, const std::string& before) {
  const std::size_t start = line.find(before);
  return start == std::string::npos
             ? ""
             : line.substr(start + before.size(),
                           line.find('"', start + before.size()) - start - before.size());
}

}  // namespace

bool Report::compare_with(const char* path, bool need_same_bits) {
  std::ifstream file(path);
  const bool readable = file.is_open();
  for (std::string line; std::getline(file, line);) {
    const std::string bits = between(line, "\"bits\":\"");
    if (!bits.empty()) {
      earlier_[between(line, "\"check\":\"")] = bits;
    }
  }
  need_same_bits_ = need_same_bits;
  return readable;
}

void Report::print(const std::string& name, const std::string& rest, bool ok) {
  const std::lock_guard lock(mutex_);
  ++checks_;
  failed_ += ok ? 0 : 1;
  std::printf(
      "{\"check\":\"%s\",%s\"ok\":%s}\n", name.c_str(), rest.c_str(), ok ? "true" : "false");
  std::fflush(stdout);
}

void Report::output(const std::string& name,
                    std::uint64_t hash,
                    double deviation,
                    double tolerance) {
  char bits[17];
  std::snprintf(bits, sizeof bits, "%016" PRIx64, hash);
  char rest[96];
  std::snprintf(rest, sizeof rest, "\"bits\":\"%s\",\"deviation\":%.2g,", bits, deviation);
  bool same = true;
  bool known = false;
  {
    const std::lock_guard lock(mutex_);
    const auto earlier = earlier_.find(name);
    known = earlier != earlier_.end();
    same = known && earlier->second == bits;
    same_bits_ += same ? 1 : 0;
    other_bits_ += known && !same ? 1 : 0;
  }
  const bool strict = need_same_bits_ && name.starts_with("deterministic");
  const std::string compared =
      known ? std::string("\"same_bits\":") + (same ? "true," : "false,") : "";
  print(name, rest + compared, deviation <= tolerance && (!strict || same));
}

void Report::expect(bool ok, const std::string& name, const std::string& note) {
  print(name, note.empty() ? "" : "\"note\":\"" + note + "\",", ok);
}

void Report::note(const std::string& name, const std::string& note) {
  expect(true, name, note);
}

int Report::finish() {
  std::printf("{\"checks\":%d,\"failed\":%d,\"same_bits\":%d,\"other_bits\":%d}\n",
              checks_,
              failed_,
              same_bits_,
              other_bits_);
  return failed_ == 0 ? 0 : 1;
}

}  // namespace gpu_check
