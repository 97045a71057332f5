#include "interchange/measurements.h"

#include "core/problem_text.h"
#include "interchange/json_depth.h"

#include <boost/test/unit_test.hpp>

#include <filesystem>
#include <fstream>
#include <string>

namespace {

using namespace reformer;
namespace fs = std::filesystem;

class Folder {
 public:
  Folder() {
    std::string name = (fs::temp_directory_path() / "interchange.XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~Folder() { fs::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  [[nodiscard]] fs::path operator/(const char* name) const { return path_ / name; }

 private:
  fs::path path_;
};

const fs::path kRecorded = fs::path(REFORMER_SOURCE_DIR) / "data/h200-random.jsonl.zst";

std::vector<core::Record> first_records(std::size_t count) {
  auto reader = interchange::MeasurementReader::open(kRecorded);
  BOOST_REQUIRE(reader.ok());
  std::vector<core::Record> records;
  while (records.size() < count) {
    auto record = reader.value()->next();
    BOOST_REQUIRE(record.ok());
    BOOST_REQUIRE(record->has_value());
    records.push_back(std::move(**record));
  }
  return records;
}

void write(const fs::path& path, const std::vector<core::Record>& records) {
  auto writer = interchange::MeasurementWriter::create(path, interchange::compression_for(path));
  BOOST_REQUIRE(writer.ok());
  for (const core::Record& record : records) {
    BOOST_REQUIRE(writer.value()->write(record).ok());
  }
  BOOST_REQUIRE(writer.value()->finish().ok());
}

constexpr std::string_view kLine =
    R"({"schema":"reformer-measurements/1","device":"NVIDIA H200","sm":90,"cudnn":91900,)"
    R"("problem":{"op":"conv_fwd","dtype":"f16","compute":"f32","layout":"nhwc","n":4,"c":8,"h":9,"w":9,)"
    R"("k":8,"r":3,"s":3,"pad":[1,1],"stride":[1,1],"dilation":[1,1],"groups":1,"alignment":16},)"
    R"("candidates":[{"engine":57,"knobs":{"2":1},"rank":{"a":0},"workspace":0,"numerical_notes":[0],)"
    R"("behavior_notes":[],"build_us":4.3,"time_us":18.073,"timing":"graph_median7","spread":0.01}]})";

std::string replaced(std::string_view from, std::string_view to) {
  std::string line(kLine);
  const std::size_t at = line.find(from);
  BOOST_REQUIRE(at != std::string::npos);
  return line.replace(at, from.size(), to);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(measurements)

BOOST_AUTO_TEST_CASE(a_line_says_what_it_says) {
  const auto record = interchange::record_from_json(kLine);
  BOOST_REQUIRE(record.ok());
  BOOST_TEST(core::format_problem(record->key.problem) ==
             "fwd f16 nhwc n4 c8 h9 w9 k8 r3 s3 pad1 str1 dil1 grp1");
  BOOST_TEST(record->key.context.device.sm_count == 132);
  BOOST_TEST(record->candidates[0].time_us == 18.073f);
  BOOST_TEST(record->candidates[0].samples == 7);
}

BOOST_AUTO_TEST_CASE(what_is_exported_is_imported_without_loss) {
  Folder folder;
  const std::vector<core::Record> records = first_records(50);
  for (const char* name : {"plain.jsonl", "packed.jsonl.zst"}) {
    write(folder / name, records);
    auto reader = interchange::MeasurementReader::open(folder / name);
    BOOST_REQUIRE(reader.ok());
    for (const core::Record& record : records) {
      auto back = reader.value()->next();
      BOOST_REQUIRE(back.ok());
      BOOST_REQUIRE(back->has_value());
      BOOST_TEST((**back).candidates.size() == record.candidates.size());
      BOOST_TEST(interchange::record_to_json(**back) == interchange::record_to_json(record));
    }
    BOOST_TEST(!reader.value()->next()->has_value());
  }
}

BOOST_AUTO_TEST_CASE(problems_beyond_the_plain_fields_travel_as_text) {
  core::Record record = *interchange::record_from_json(kLine);
  record.key.problem = *core::parse_problem(
      "fwd f16+f16+f32 nhwc+nchw+nhwc n2 c8 h9 w9 k8 r3 s3 pad1 post0x2 mode=conv graph=ab");
  const auto back = interchange::record_from_json(interchange::record_to_json(record));
  BOOST_REQUIRE(back.ok());
  BOOST_TEST((back->key == record.key));
}

BOOST_AUTO_TEST_CASE(lines_that_are_wrong_are_refused) {
  for (const std::string& line : {std::string(),
                                  std::string("{"),
                                  std::string("[]"),
                                  std::string("null"),
                                  replaced("/1", "/2"),
                                  replaced("\"n\":4", "\"n\":0"),
                                  replaced("\"n\":4", "\"n\":-4"),
                                  replaced("\"n\":4", "\"n\":\"4\""),
                                  replaced("\"n\":4", "\"n\":4e30"),
                                  replaced("conv_fwd", "pool"),
                                  replaced("\"f16\"", "16"),
                                  replaced("18.073", "-1"),
                                  replaced("18.073", "\"fast\""),
                                  replaced("graph_median7", "guess"),
                                  replaced("\"engine\":57", "\"engine\":-1"),
                                  replaced("\"2\":1", "\"x\":1"),
                                  replaced("\"groups\":1", "\"groups\":3"),
                                  replaced("\"pad\":[1,1]", "\"pad\":[1]"),
                                  replaced("\"pad\":[1,1]", "\"pad\":[1,-1]"),
                                  replaced("\"spread\":0.01", "\"status\":7"),
                                  replaced("\"problem\"", "\"other\""),
                                  replaced("NVIDIA H200", "Some/GPU"),
                                  replaced("\"cudnn\":91900", "\"cudnn\":0")}) {
    BOOST_TEST(!interchange::record_from_json(line).ok(), line);
  }
  const auto unknown = interchange::record_from_json(replaced("NVIDIA H200", "NVIDIA Nobody"));
  BOOST_REQUIRE(!unknown.ok());
  BOOST_TEST(unknown.error().message.find("sm_count") != std::string::npos);
}

// Copying or printing such a value calls itself once for each bracket.
BOOST_AUTO_TEST_CASE(a_line_that_is_nested_deeply_is_refused_and_does_not_take_the_stack) {
  const auto nested = [](std::size_t depth) {
    return std::string(depth, '[') + std::string(depth, ']');
  };
  const std::string deep = nested(1'000'000);
  for (const std::string& line : {replaced("\"n\":4", "\"n\":" + deep),
                                  replaced("\"spread\":0.01", "\"status\":" + deep),
                                  replaced("\"groups\"", "\"unknown\":" + deep + ",\"groups\""),
                                  replaced("{\"op\"", deep + ",\"x\":{\"op\""),
                                  deep}) {
    const auto record = interchange::record_from_json(line);
    BOOST_REQUIRE(!record.ok());
    BOOST_TEST((record.error().code == core::ErrorCode::kCorrupt));
    BOOST_TEST(record.error().message == "nested too deeply");
  }
  BOOST_TEST(
      interchange::record_from_json(
          replaced("\"spread\":0.01", "\"note\":" + nested(9) + ",\"text\":\"[[[[[[[[[[[[[\""))
          .ok());
}

BOOST_AUTO_TEST_CASE(depth_counts_brackets_outside_of_text) {
  using interchange::nested_too_deeply;
  BOOST_TEST(!nested_too_deeply(R"({"a":[[]]})", 3));
  BOOST_TEST(nested_too_deeply(R"({"a":[[]]})", 2));
  BOOST_TEST(!nested_too_deeply(R"([[],[],{},{}])", 2));
  BOOST_TEST(!nested_too_deeply(R"(["[[[[", "\"[[[[", "\\"])", 1));
  BOOST_TEST(nested_too_deeply(R"(["\\",[["\\"]]])", 2));
  BOOST_TEST(!nested_too_deeply("]]]]\"\\", 1));
}

BOOST_AUTO_TEST_CASE(a_bad_line_does_not_hide_the_ones_behind_it) {
  Folder folder;
  std::ofstream(folder / "mixed.jsonl") << "nonsense\n" << kLine << "\n\n" << kLine;
  auto reader = interchange::MeasurementReader::open(folder / "mixed.jsonl");
  BOOST_REQUIRE(reader.ok());
  const auto bad = reader.value()->next();
  BOOST_REQUIRE(!bad.ok());
  BOOST_TEST(bad.error().message.find("line 1") != std::string::npos);
  BOOST_TEST(reader.value()->next()->has_value());
  BOOST_TEST(reader.value()->next()->has_value());
  BOOST_TEST(!reader.value()->next()->has_value());
}

BOOST_AUTO_TEST_CASE(a_truncated_zstd_file_says_so) {
  Folder folder;
  write(folder / "whole.jsonl.zst", first_records(20));
  fs::copy_file(folder / "whole.jsonl.zst", folder / "cut.jsonl.zst");
  fs::resize_file(folder / "cut.jsonl.zst", fs::file_size(folder / "whole.jsonl.zst") / 2);
  auto reader = interchange::MeasurementReader::open(folder / "cut.jsonl.zst");
  BOOST_REQUIRE(reader.ok());
  bool failed = false;
  for (int i = 0; i < 100 && !failed; ++i) {
    const auto record = reader.value()->next();
    failed = !record.ok() && reader.value()->broken();
    BOOST_REQUIRE(failed || record->has_value());
  }
  BOOST_TEST(failed);
}

BOOST_AUTO_TEST_CASE(a_writer_that_is_not_finished_leaves_nothing) {
  Folder folder;
  {
    auto writer =
        interchange::MeasurementWriter::create(folder / "x.jsonl", interchange::Compression::kNone);
    BOOST_REQUIRE(writer.ok());
    BOOST_REQUIRE(writer.value()->write_line(kLine).ok());
  }
  BOOST_TEST(fs::is_empty((folder / "x.jsonl").parent_path()));
}

BOOST_AUTO_TEST_SUITE_END()
