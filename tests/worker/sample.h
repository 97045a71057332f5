#pragma once

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace reformer::testing {

inline std::string problem_text(int channels) {
  const std::string c = std::to_string(channels);
  return "fwd f16 nhwc n4 c" + c + " h8 w8 k16 r1 s1 pad0 str1 dil1 grp1";
}

// A measurement of problem_text(channels) with one candidate.
inline std::string line_of(int channels, int cudnn, double us) {
  return R"({"schema":"reformer-measurements/1","device":"NVIDIA H200","sm":90,"sm_count":132,"cudnn":)" +
         std::to_string(cudnn) + R"(,"problem":{"op":"conv_fwd","dtype":"f16","compute":"f32",)" +
         R"("layout":"nhwc","n":4,"c":)" + std::to_string(channels) +
         R"(,"h":8,"w":8,"k":16,"r":1,"s":1,"pad":[0,0],"stride":[1,1],"dilation":[1,1],)" +
         R"("groups":1,"alignment":16},"candidates":[{"engine":57,"knobs":{},"rank":{"a":0},)" +
         R"("workspace":0,"numerical_notes":[],"behavior_notes":[],"build_us":2.0,"time_us":)" +
         std::to_string(us) + R"(,"timing":"graph_median7","spread":0.01}]})" + "\n";
}

// A file that goes with its owner.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& text) { std::ofstream(path_) << text; }
  ~TemporaryFile() { std::filesystem::remove(path_); }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  static inline int count_ = 0;
  std::filesystem::path path_ =
      std::filesystem::temp_directory_path() /
      ("worker_test_" + std::to_string(::getpid()) + "_" + std::to_string(count_++));
};

}  // namespace reformer::testing
