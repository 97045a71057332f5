#pragma once

#include "core/codec.h"
#include "core/key.h"
#include "core/result.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace reformer::storage {

// What records have in common and refer to by number: engine configurations with their notes,
// contexts, and texts (library paths, sources). Numbers count from 1, are never given twice and
// never change their meaning, because records on disk hold them. 0 stands for "written out": the
// dictionary is bounded, so that hostile input cannot make it grow without end.
//
// Threads: not safe; the database guards it with a shared mutex.
class Dictionary {
 public:
  using Config = core::ConfigTable::Entry;
  static constexpr std::uint32_t kNoNumber = 0;
  static constexpr std::size_t kMaxConfigs = 65'536;
  static constexpr std::size_t kMaxContexts = 4'096;
  static constexpr std::size_t kMaxTexts = 4'096;

  // The number of an entry, a new one where there was none, kNoNumber when the bound is reached.
  std::uint32_t number_of(const Config& config);
  std::uint32_t number_of(const core::Context& context);
  std::uint32_t number_of(const std::string& text);

  // Null for a number that was never given. Valid until the next number_of() or load().
  [[nodiscard]] const Config* config(std::uint64_t number) const;
  [[nodiscard]] const core::Context* context(std::uint64_t number) const;
  [[nodiscard]] const std::string* text(std::uint64_t number) const;

  // Names and bytes of the entries that are not on disk yet. They must be written together with, or
  // before, the first record that refers to them; then saved() forgets them.
  [[nodiscard]] const std::vector<std::pair<std::string, std::string>>& unsaved() const {
    return unsaved_;
  }
  void saved() { unsaved_.clear(); }

  // All entries have names with this prefix, and come back in name order.
  static constexpr std::string_view kPrefix = "dictionary/";
  // Reads an entry back. Errors: kCorrupt, with kRefuse also for a gap in the numbers; numbers in a
  // gap that was allowed are never given.
  enum class Gaps { kRefuse, kAllow };
  core::Status load(std::string_view name, std::string_view bytes, Gaps gaps = Gaps::kRefuse);
  // The next batch is to save this entry, which was loaded from elsewhere.
  void save_again(std::string name, std::string bytes) {
    unsaved_.emplace_back(std::move(name), std::move(bytes));
  }

 private:
  struct ConfigHash {
    std::size_t operator()(const Config& config) const noexcept;
  };
  struct ContextHash {
    std::size_t operator()(const core::Context& context) const noexcept;
  };
  template <typename T, typename Hash>
  struct Table {
    std::vector<std::optional<T>> entries;  // number - 1 is the index; empty: in a gap
    std::unordered_map<T, std::uint32_t, Hash> numbers;
  };

  template <typename T, typename Hash>
  std::uint32_t number_in(Table<T, Hash>& table, const T& entry, std::size_t bound, char kind);
  template <typename T, typename Hash>
  core::Status load_into(Table<T, Hash>& table,
                         std::string_view name,
                         std::string_view bytes,
                         std::size_t bound,
                         Gaps gaps);

  Table<Config, ConfigHash> configs_;
  Table<core::Context, ContextHash> contexts_;
  Table<std::string, std::hash<std::string>> texts_;
  std::vector<std::pair<std::string, std::string>> unsaved_;
};

}  // namespace reformer::storage
