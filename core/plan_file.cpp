#include "core/plan_file.h"

#include "core/codec.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstring>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace reformer::core {
namespace {

constexpr std::uint64_t kMagic = 0x0a314e414c504652;  // "RFPLAN1\n" as bytes
constexpr std::size_t kHeaderBytes = 2 * sizeof(std::uint64_t);

}  // namespace

std::string plan_file_name(const KeyHash& key, const EngineConfig& config) {
  std::vector<std::byte> encoded;
  ByteWriter out(encoded);
  encode(out, config);
  std::array<char, 17> digits{};
  (void)std::snprintf(digits.data(),
                      digits.size(),
                      "%016llx",
                      static_cast<unsigned long long>(XXH3_64bits(encoded.data(), encoded.size())));
  return format_hash(key) + "-" + digits.data() + ".plan";
}

std::string plans_path(std::string_view socket) {
  return std::string(socket) + ".plans";
}

std::vector<std::byte> encode_plan_file(const StoredPlan& plan) {
  std::vector<std::byte> bytes;
  ByteWriter out(bytes);
  out.u64(kMagic);
  out.u64(0);
  for (const std::uint8_t byte : plan.key.bytes) {
    out.u8(byte);
  }
  encode(out, plan.config);
  out.u64(plan.cuda_version);
  out.bytes(std::as_bytes(std::span(plan.json)));
  const std::uint64_t sum = XXH3_64bits(bytes.data() + kHeaderBytes, bytes.size() - kHeaderBytes);
  std::memcpy(bytes.data() + sizeof kMagic, &sum, sizeof sum);
  return bytes;
}

Result<StoredPlan> decode_plan_file(std::span<const std::byte> bytes) {
  const auto corrupt = [](const char* why) {
    return make_error(ErrorCode::kCorrupt, std::string("plan file: ") + why);
  };
  ByteReader in(bytes);
  if (in.u64() != kMagic) {
    return corrupt("not one of this version");
  }
  const std::uint64_t sum = in.u64();
  const auto covered = bytes.last(in.remaining());
  if (!in.ok() || sum != XXH3_64bits(covered.data(), covered.size())) {
    return corrupt("wrong checksum");
  }
  StoredPlan plan;
  in.bytes(std::as_writable_bytes(std::span(plan.key.bytes)));
  if (!in.ok() || !decode(in, plan.config)) {
    return corrupt("no key or configuration");
  }
  plan.cuda_version = in.u64();
  if (!in.ok() || in.remaining() == 0 || in.remaining() > kMaxPlanBytes) {
    return corrupt("no plan, or one over 1 MiB");
  }
  plan.json.resize(in.remaining());
  in.bytes(std::as_writable_bytes(std::span(plan.json)));
  return plan;
}

}  // namespace reformer::core
