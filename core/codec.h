#pragma once

#include "core/byte_io.h"
#include "core/decision.h"
#include "core/key.h"
#include "core/record.h"

#include <cstdint>
#include <optional>

// The binary form of the vocabulary, shared by wire, shared table and database. encode() appends;
// decode() reads hostile bytes: every length, count and enumeration is checked, problems are
// canonicalised, and false means that nothing of `out` may be used.
namespace reformer::core {

void encode(ByteWriter& out, const Problem& problem);
void encode(ByteWriter& out, const Context& context);
void encode(ByteWriter& out, const EngineConfig& config);
void encode(ByteWriter& out, const DecisionEntry& entry);
void encode(ByteWriter& out, const Decision& decision);

[[nodiscard]] bool decode(ByteReader& in, Problem& problem);
[[nodiscard]] bool decode(ByteReader& in, Context& context);
[[nodiscard]] bool decode(ByteReader& in, EngineConfig& config);
[[nodiscard]] bool decode(ByteReader& in, DecisionEntry& entry);
[[nodiscard]] bool decode(ByteReader& in, Decision& decision);

// The key apart from its problem and candidates: what a record holds besides them.
void encode(ByteWriter& out, const Provenance& provenance);
[[nodiscard]] bool decode(ByteReader& in, Provenance& provenance);

// What a candidate's configuration and notes are written as: storage interns them, because a record
// has fifty of them and a GPU a few thousand in all.
class ConfigTable {
 public:
  struct Entry {
    EngineConfig config;
    std::uint32_t numerical_notes = 0;
    std::uint32_t behavior_notes = 0;
    friend bool operator==(const Entry&, const Entry&) = default;
  };
  virtual ~ConfigTable() = default;
  // The number of an entry, a new one where there was none.
  virtual std::uint32_t number_of(const Entry& entry) = 0;
  // Empty for a number that was never given.
  virtual std::optional<Entry> entry_of(std::uint32_t number) = 0;
};

// A whole record. Without a table the configurations are written out.
void encode(ByteWriter& out, const Record& record, ConfigTable* table = nullptr);
[[nodiscard]] bool decode(ByteReader& in, Record& record, ConfigTable* table = nullptr);

}  // namespace reformer::core
