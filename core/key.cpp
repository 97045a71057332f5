#include "core/key.h"

#include <algorithm>
#include <type_traits>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace reformer::core {
namespace {

constexpr std::string_view kHexDigits = "0123456789abcdef";

int hex_value(char c) {
  const std::size_t value = kHexDigits.find(c);
  return value == std::string_view::npos ? -1 : static_cast<int>(value);
}

}  // namespace

std::uint64_t hash_context(const Context& context) {
  // Numbers first, at fixed places; then the name, whose length is the rest.
  std::array<unsigned char, 16 + kMaxDeviceNameBytes> bytes{};
  const std::int64_t version = context.cudnn_version;
  const std::size_t name_bytes = std::min(context.device.name.size(), kMaxDeviceNameBytes);
  std::memcpy(bytes.data(), &version, 8);
  std::memcpy(bytes.data() + 8, &context.device.compute_capability, 4);
  std::memcpy(bytes.data() + 12, &context.device.sm_count, 4);
  std::memcpy(bytes.data() + 16, context.device.name.data(), name_bytes);
  return XXH3_64bits(bytes.data(), 16 + name_bytes);
}

KeyHash hash_problem(std::uint64_t context_hash, const Problem& canonical) {
  static_assert(std::is_trivially_copyable_v<Problem>);
  XXH128_canonical_t canonical_form;
  XXH128_canonicalFromHash(&canonical_form,
                           XXH3_128bits_withSeed(&canonical, sizeof canonical, context_hash));
  KeyHash hash;
  static_assert(sizeof canonical_form == sizeof hash.bytes);
  std::memcpy(hash.bytes.data(), canonical_form.digest, hash.bytes.size());
  return hash;
}

KeyHash hash_key(const Key& key) {
  return hash_problem(hash_context(key.context), key.problem);
}

std::string format_hash(const KeyHash& hash) {
  std::string text;
  text.reserve(2 * hash.bytes.size());
  for (const std::uint8_t byte : hash.bytes) {
    text += kHexDigits[byte >> 4];
    text += kHexDigits[byte & 15];
  }
  return text;
}

Result<KeyHash> parse_hash(std::string_view text) {
  KeyHash hash;
  bool good = text.size() == 2 * hash.bytes.size();
  for (std::size_t i = 0; good && i < hash.bytes.size(); ++i) {
    const int high = hex_value(text[2 * i]);
    const int low = hex_value(text[2 * i + 1]);
    good = high >= 0 && low >= 0;
    hash.bytes[i] = static_cast<std::uint8_t>(high * 16 + low);
  }
  if (!good) {
    return make_error(ErrorCode::kInvalidArgument,
                      "key '" + std::string(text) + "': expected 32 hexadecimal digits");
  }
  return hash;
}

}  // namespace reformer::core
