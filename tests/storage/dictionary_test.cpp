#include "storage/dictionary.h"

#include <boost/test/unit_test.hpp>

namespace {

using namespace reformer;
using storage::Dictionary;

Dictionary::Config config(std::int32_t engine, std::uint32_t notes = 0) {
  Dictionary::Config made{core::EngineConfig(engine), notes, 0};
  (void)made.config.add_knob({.type = 3, .value = 4});
  return made;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(dictionary_test)

BOOST_AUTO_TEST_CASE(numbers_count_from_one_and_stay) {
  Dictionary dictionary;
  BOOST_TEST(dictionary.number_of(config(7)) == 1U);
  BOOST_TEST(dictionary.number_of(config(8)) == 2U);
  BOOST_TEST(dictionary.number_of(config(7, 1)) == 3U);  // other notes: another entry
  BOOST_TEST(dictionary.number_of(config(7)) == 1U);
  BOOST_TEST((*dictionary.config(2) == config(8)));
  BOOST_TEST(dictionary.config(0) == nullptr);
  BOOST_TEST(dictionary.config(4) == nullptr);
  BOOST_TEST(dictionary.text(1) == nullptr);
}

BOOST_AUTO_TEST_CASE(what_was_saved_is_loaded_with_its_numbers) {
  Dictionary dictionary;
  (void)dictionary.number_of(std::string("worker"));
  (void)dictionary.number_of(config(7));
  (void)dictionary.number_of(core::Context{.device = {"GPU", 90, 132}, .cudnn_version = 91900});
  (void)dictionary.number_of(config(8));
  auto unsaved = dictionary.unsaved();
  BOOST_TEST(unsaved.size() == 4U);
  dictionary.saved();
  BOOST_TEST(dictionary.unsaved().empty());

  std::sort(unsaved.begin(), unsaved.end());
  Dictionary loaded;
  for (const auto& [name, bytes] : unsaved) {
    BOOST_TEST(loaded.load(name, bytes).ok());
  }
  BOOST_TEST((*loaded.config(2) == config(8)));
  BOOST_TEST(*loaded.text(1) == "worker");
  BOOST_TEST(loaded.context(1)->device.sm_count == 132);
  BOOST_TEST(loaded.unsaved().empty());
}

BOOST_AUTO_TEST_CASE(gaps_foreign_names_and_damage_are_corrupt) {
  Dictionary dictionary;
  (void)dictionary.number_of(config(7));
  (void)dictionary.number_of(config(8));
  const auto unsaved = dictionary.unsaved();
  Dictionary loaded;
  BOOST_TEST(!loaded.load(unsaved[1].first, unsaved[1].second).ok());  // the first is missing
  BOOST_TEST(!loaded.load("dictionary/", "").ok());
  BOOST_TEST(!loaded.load("dictionary/x/00000001", "").ok());
  BOOST_TEST(!loaded.load(unsaved[0].first, unsaved[0].second + "x").ok());
  BOOST_TEST(!loaded.load(unsaved[0].first, unsaved[0].second.substr(1)).ok());
  BOOST_TEST(loaded.load(unsaved[0].first, unsaved[0].second).ok());
  BOOST_TEST(!loaded.load(unsaved[0].first, unsaved[0].second).ok());  // once more
}

BOOST_AUTO_TEST_CASE(numbers_in_a_gap_that_is_allowed_stand_for_nothing_and_are_not_given) {
  Dictionary dictionary;
  for (const int engine : {7, 8, 9}) {
    (void)dictionary.number_of(config(engine));
  }
  Dictionary loaded;
  for (const std::size_t present : {0U, 2U}) {
    const auto& [name, bytes] = dictionary.unsaved()[present];
    BOOST_TEST(loaded.load(name, bytes, Dictionary::Gaps::kAllow).ok());
  }
  BOOST_TEST((*loaded.config(1) == config(7)));
  BOOST_TEST(loaded.config(2) == nullptr);
  BOOST_TEST((*loaded.config(3) == config(9)));
  BOOST_TEST(loaded.number_of(config(8)) == 4U);
  BOOST_TEST(
      !loaded
           .load("dictionary/c/ffffffff", dictionary.unsaved()[0].second, Dictionary::Gaps::kAllow)
           .ok());
}

BOOST_AUTO_TEST_SUITE_END()
