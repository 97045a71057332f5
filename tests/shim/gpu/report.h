#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <string>

namespace gpu_check {

// Every check's outcome, a JSON line each. An earlier run's lines can be compared with.
//
// Threads: any.
class Report {
 public:
  // Reads what an earlier run has printed; false if it cannot be read.
  bool compare_with(const char* path, bool need_same_bits);
  // One output: which bits, how far from the reference. Checks whose name begins "deterministic"
  // must have the same bits as the earlier run if that was asked for.
  void output(const std::string& name, std::uint64_t hash, double deviation, double tolerance);
  // Anything else that is true or not.
  void expect(bool ok, const std::string& name, const std::string& note = "");
  void note(const std::string& name, const std::string& note);
  // Prints the totals; the exit code.
  int finish();

 private:
  void print(const std::string& name, const std::string& rest, bool ok);
  std::mutex mutex_;
  std::map<std::string, std::string> earlier_;  // bits by name
  bool need_same_bits_ = false;
  int checks_ = 0;
  int failed_ = 0;
  int same_bits_ = 0;
  int other_bits_ = 0;
};

}  // namespace gpu_check
