#include "storage/dictionary.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <span>
#include <system_error>

namespace reformer::storage {
namespace {

using core::ByteReader;
using core::ByteWriter;
using core::ErrorCode;
using core::make_error;

constexpr char kConfigKind = 'c';
constexpr char kContextKind = 'd';
constexpr char kTextKind = 't';
constexpr std::size_t kMaxTextBytes = 4096;

// "dictionary/c/00000007": fixed width, so that name order is number order.
std::string name_of(char kind, std::size_t number) {
  return fmt::format("{}{}/{:08x}", Dictionary::kPrefix, kind, number);
}

void write_entry(ByteWriter& out, const Dictionary::Config& config) {
  encode(out, config.config);
  out.u32(config.numerical_notes);
  out.u32(config.behavior_notes);
}
void write_entry(ByteWriter& out, const core::Context& context) {
  encode(out, context);
}
void write_entry(ByteWriter& out, const std::string& text) {
  out.text(text);
}

bool read_entry(ByteReader& in, Dictionary::Config& config) {
  const bool decoded = decode(in, config.config);
  config.numerical_notes = in.u32();
  config.behavior_notes = in.u32();
  return decoded && in.ok();
}
bool read_entry(ByteReader& in, core::Context& context) {
  return decode(in, context);
}
bool read_entry(ByteReader& in, std::string& text) {
  return in.text(kMaxTextBytes, text);
}

template <typename T>
const T* entry_at(const std::vector<std::optional<T>>& entries, std::uint64_t number) {
  return number >= 1 && number <= entries.size() && entries[number - 1] ? &*entries[number - 1]
                                                                        : nullptr;
}

// The number at the end of a name; 0 for a name that does not end in one.
std::size_t number_in_name(std::string_view name) {
  std::size_t number = 0;
  const std::string_view digits =
      name.substr(std::min(name.size(), Dictionary::kPrefix.size() + 2));
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), number, 16);
  return error == std::errc() && end == digits.data() + digits.size() ? number : 0;
}

}  // namespace

std::size_t Dictionary::ConfigHash::operator()(const Config& config) const noexcept {
  const std::size_t notes =
      config.numerical_notes * std::size_t{0x9e3779b97f4a7c15} ^ config.behavior_notes;
  return core::EngineConfigHash()(config.config) ^ notes;
}

std::size_t Dictionary::ContextHash::operator()(const core::Context& context) const noexcept {
  return core::hash_context(context);
}

template <typename T, typename Hash>
std::uint32_t Dictionary::number_in(Table<T, Hash>& table,
                                    const T& entry,
                                    std::size_t bound,
                                    char kind) {
  if (const auto known = table.numbers.find(entry); known != table.numbers.end()) {
    return known->second;
  }
  if (table.entries.size() >= bound) {
    return kNoNumber;
  }
  table.entries.push_back(entry);
  const auto number = static_cast<std::uint32_t>(table.entries.size());
  table.numbers.emplace(entry, number);
  std::vector<std::byte> bytes;
  ByteWriter writer(bytes);
  write_entry(writer, entry);
  unsaved_.emplace_back(name_of(kind, number),
                        std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
  return number;
}

template <typename T, typename Hash>
core::Status Dictionary::load_into(Table<T, Hash>& table,
                                   std::string_view name,
                                   std::string_view bytes,
                                   std::size_t bound,
                                   Gaps gaps) {
  T entry{};
  ByteReader reader(std::as_bytes(std::span(bytes)));
  const std::size_t number = number_in_name(name);
  const std::size_t next = table.entries.size() + 1;
  if (!read_entry(reader, entry) || !reader.at_end() || number < next || number > bound ||
      (number > next && gaps == Gaps::kRefuse) || name != name_of(name[kPrefix.size()], number)) {
    return make_error(ErrorCode::kCorrupt, fmt::format("{} does not decode", name));
  }
  table.entries.resize(number - 1);
  table.entries.push_back(entry);
  table.numbers.emplace(std::move(entry), static_cast<std::uint32_t>(table.entries.size()));
  return core::ok_status();
}

std::uint32_t Dictionary::number_of(const Config& config) {
  return number_in(configs_, config, kMaxConfigs, kConfigKind);
}
std::uint32_t Dictionary::number_of(const core::Context& context) {
  return number_in(contexts_, context, kMaxContexts, kContextKind);
}
std::uint32_t Dictionary::number_of(const std::string& text) {
  return text.size() > kMaxTextBytes ? kNoNumber : number_in(texts_, text, kMaxTexts, kTextKind);
}

const Dictionary::Config* Dictionary::config(std::uint64_t number) const {
  return entry_at(configs_.entries, number);
}
const core::Context* Dictionary::context(std::uint64_t number) const {
  return entry_at(contexts_.entries, number);
}
const std::string* Dictionary::text(std::uint64_t number) const {
  return entry_at(texts_.entries, number);
}

core::Status Dictionary::load(std::string_view name, std::string_view bytes, Gaps gaps) {
  switch (name.size() > kPrefix.size() ? name[kPrefix.size()] : '\0') {
    case kConfigKind:
      return load_into(configs_, name, bytes, kMaxConfigs, gaps);
    case kContextKind:
      return load_into(contexts_, name, bytes, kMaxContexts, gaps);
    case kTextKind:
      return load_into(texts_, name, bytes, kMaxTexts, gaps);
    default:
      return make_error(ErrorCode::kCorrupt, fmt::format("{} is not known", name));
  }
}

}  // namespace reformer::storage
