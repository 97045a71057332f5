#include "storage/log_file.h"

#include "storage/crc32c.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>

namespace reformer::storage {
namespace {

constexpr std::size_t kBlockBytes = 32'768;
constexpr std::size_t kHeaderBytes = 7;  // masked sum of what follows, length (2 bytes), kind

enum class Kind : std::uint8_t { kNone, kWhole, kFirst, kMiddle, kLast };

struct Piece {
  Kind kind = Kind::kNone;
  std::span<const std::byte> payload;
  [[nodiscard]] std::size_t bytes() const { return kHeaderBytes + payload.size(); }
};

// The piece at the beginning of `rest`, which is what is left of a block.
std::optional<Piece> piece_at(std::span<const std::byte> rest) {
  if (rest.size() < kHeaderBytes) {
    return std::nullopt;
  }
  const std::size_t length =
      static_cast<std::size_t>(rest[4]) | (static_cast<std::size_t>(rest[5]) << 8);
  const auto kind = static_cast<Kind>(rest[6]);
  if (kind < Kind::kWhole || kind > Kind::kLast || length > rest.size() - kHeaderBytes ||
      masked(crc32c(rest.subspan(6, 1 + length))) != little_endian_32(rest.data())) {
    return std::nullopt;
  }
  return Piece{kind, rest.subspan(kHeaderBytes, length)};
}

bool all_zero(std::span<const std::byte> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

// Puts the pieces of an entry together.
class Assembly {
 public:
  explicit Assembly(const std::function<void(std::string&&)>& visit) : visit_(visit) {}

  // Whether it fits behind the one before.
  bool add(const Piece& piece) {
    const bool begins = piece.kind == Kind::kWhole || piece.kind == Kind::kFirst;
    const bool fits = begins != open_;
    if (begins) {
      entry_.clear();
    } else if (!open_) {
      return false;  // its beginning is lost
    }
    entry_.append(reinterpret_cast<const char*>(piece.payload.data()), piece.payload.size());
    open_ = piece.kind == Kind::kFirst || piece.kind == Kind::kMiddle;
    if (!open_) {
      visit_(std::exchange(entry_, {}));
    }
    return fits;
  }
  void drop() { open_ = false; }
  [[nodiscard]] bool open() const { return open_; }

 private:
  const std::function<void(std::string&&)>& visit_;
  std::string entry_;
  bool open_ = false;
};

}  // namespace

LogCondition read_log(std::span<const std::byte> file,
                      const std::function<void(std::string&& entry)>& visit) {
  LogCondition condition;
  Assembly assembly(visit);
  bool bad = false;  // since the last sound piece
  for (std::size_t start = 0; start < file.size(); start += kBlockBytes) {
    std::span<const std::byte> rest =
        file.subspan(start, std::min(kBlockBytes, file.size() - start));
    while (!rest.empty()) {
      const std::optional<Piece> piece = piece_at(rest);
      if (piece) {
        condition.damaged_within = condition.damaged_within || bad;
        bad = !assembly.add(*piece);
        condition.damaged_within = condition.damaged_within || bad;
        bad = false;
        rest = rest.subspan(piece->bytes());
        continue;
      }
      if (all_zero(rest.first(std::min(rest.size(), kHeaderBytes))) && all_zero(rest)) {
        break;  // the filling of a block's end
      }
      bad = true;
      assembly.drop();
      rest = rest.subspan(1);
    }
  }
  condition.torn_end = bad || assembly.open();
  return condition;
}

}  // namespace reformer::storage
