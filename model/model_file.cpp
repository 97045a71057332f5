#include "model/model_file.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <type_traits>

#define XXH_INLINE_ALL
#include "model/features.h"

#include <xxhash.h>

namespace reformer::model {
namespace {

constexpr std::array<char, 8> kMagic = {'R', 'F', 'M', 'O', 'D', 'E', 'L', '\x1a'};
constexpr std::uintmax_t kMaxFileBytes = std::uintmax_t{1} << 30;

core::Error corrupt(std::string what) {
  return core::make_error(core::ErrorCode::kCorrupt, std::move(what));
}

template <typename T>
concept Plain = std::is_arithmetic_v<T> || std::is_enum_v<T>;

class Writer {
 public:
  template <Plain T>
  void operator()(const T& value) {
    const auto* raw = reinterpret_cast<const std::byte*>(&value);
    bytes_.insert(bytes_.end(), raw, raw + sizeof value);
  }
  template <Plain T>
  void operator()(const std::vector<T>& values) {
    count(values.size());
    const auto* raw = reinterpret_cast<const std::byte*>(values.data());
    bytes_.insert(bytes_.end(), raw, raw + values.size() * sizeof(T));
  }
  template <typename T>
  void operator()(const std::vector<T>& values) {
    count(values.size());
    for (const T& value : values) {
      visit(*this, value);
    }
  }
  void operator()(const std::string& text) {
    count(text.size());
    const auto* raw = reinterpret_cast<const std::byte*>(text.data());
    bytes_.insert(bytes_.end(), raw, raw + text.size());
  }
  void operator()(const NumericFeatures& values) {
    for (const float value : values) {
      (*this)(value);
    }
  }
  void operator()(const core::EngineConfig& config) {
    (*this)(config.engine());
    count(config.knobs().size());
    for (const core::Knob& knob : config.knobs()) {
      (*this)(knob.type);
      (*this)(knob.value);
    }
  }
  [[nodiscard]] std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  void count(std::size_t n) { (*this)(static_cast<std::uint32_t>(n)); }
  std::vector<std::byte> bytes_;
};

// Reads what Writer wrote. The first thing that does not fit makes everything after it fail too.
//
// A count allocates what the file's length allows: a structure takes at least least_bytes().
class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  template <Plain T>
  void operator()(T& value) {
    if (!need(sizeof value)) {
      return;
    }
    std::memcpy(&value, bytes_.data(), sizeof value);
    bytes_ = bytes_.subspan(sizeof value);
  }
  template <Plain T>
  void operator()(std::vector<T>& values) {
    const std::size_t n = count(sizeof(T));
    values.resize(n);
    if (n > 0) {  // memcpy takes no null pointer, even for nothing
      std::memcpy(values.data(), bytes_.data(), n * sizeof(T));
    }
    bytes_ = bytes_.subspan(n * sizeof(T));
  }
  template <typename T>
  void operator()(std::vector<T>& values) {
    values.resize(count(least_bytes<T>()));
    for (T& value : values) {
      visit(*this, value);
    }
  }
  void operator()(std::string& text) {
    const std::size_t n = count(1);
    text.assign(reinterpret_cast<const char*>(bytes_.data()), n);
    bytes_ = bytes_.subspan(n);
  }
  void operator()(NumericFeatures& values) {
    for (float& value : values) {
      (*this)(value);
    }
  }
  void operator()(core::EngineConfig& config) {
    std::int32_t engine = 0;
    (*this)(engine);
    config = core::EngineConfig(engine);
    for (std::size_t left = count(8); left > 0; --left) {
      core::Knob knob;
      (*this)(knob.type);
      (*this)(knob.value);
      if (ok_ && !config.add_knob(knob).ok()) {
        ok_ = false;
      }
    }
  }
  [[nodiscard]] bool complete() const { return ok_ && bytes_.empty(); }

 private:
  bool need(std::size_t n) {
    ok_ = ok_ && bytes_.size() >= n;
    return ok_;
  }
  // A count of elements of at least `bytes_each`; 0 where they cannot all be there.
  std::size_t count(std::size_t bytes_each) {
    std::uint32_t n = 0;
    (*this)(n);
    return need(std::size_t{n} * bytes_each) ? n : 0;
  }

  // What a structure takes in a file whose strings and arrays are all empty.
  template <typename T>
  static std::size_t least_bytes() {
    Writer writer;
    const T empty{};
    visit(writer, empty);
    return writer.take().size();
  }

  std::span<const std::byte> bytes_;
  bool ok_ = true;
};

// One description of every structure serves both directions: Field is `const T&` or `T&`.
template <typename Archive, typename Data>
concept Of = std::is_same_v<std::remove_const_t<Archive>, Data>;

template <typename Archive, Of<std::pair<std::string, double>> T>
void visit(Archive& archive, T& metric) {
  archive(metric.first);
  archive(metric.second);
}

template <typename Archive, Of<core::Context> T>
void visit(Archive& archive, T& context) {
  archive(context.device.name);
  archive(context.device.compute_capability);
  archive(context.device.sm_count);
  archive(context.cudnn_version);
}

template <typename Archive, Of<BlockWidth> T>
void visit(Archive& archive, T& width) {
  archive(width.hidden);
  archive(width.out);
}

template <typename Archive, Of<KernelClass> T>
void visit(Archive& archive, T& kernel) {
  archive(kernel.entry.config);
  archive(kernel.entry.numerical_notes);
  archive(kernel.entry.behavior_notes);
  archive(kernel.entry.workspace_bytes);
  archive(kernel.entry.build_us);
  archive(kernel.sightings);
}

template <typename Archive, Of<CombinationClasses> T>
void visit(Archive& archive, T& classes) {
  auto& c = classes.combination;
  archive(c.operation);
  archive(c.mode);
  archive(c.type);
  archive(c.weight_type);
  archive(c.output_type);
  archive(c.compute_type);
  archive(c.layout);
  archive(c.spatial_rank);
  archive(c.grouping);
  archive(c.view);
  archive(classes.classes);
}

template <typename Archive, Of<std::vector<std::uint32_t>> T>
void visit(Archive& archive, T& values) {
  archive(values);
}

template <typename Archive, Of<ModelInfo> T>
void visit(Archive& archive, T& info) {
  archive(info.name);
  archive(info.block);
  archive(info.target);
  archive(info.blocks);
  archive(info.sharpness);
  archive(info.seed);
  archive(info.parameters);
  archive(info.data_hash);
  archive(info.training_problems);
  archive(info.contexts);
  archive(info.metrics);
}

template <typename Archive, Of<ModelData> T>
void visit(Archive& archive, T& data) {
  visit(archive, data.info);
  archive(data.shape.block);
  archive(data.shape.widths);
  archive(data.shape.transformer_blocks);
  archive(data.shape.transformer.tokens);
  archive(data.shape.transformer.width);
  archive(data.shape.transformer.heads);
  archive(data.shape.transformer.hidden);
  archive(data.shape.embedding);
  archive(data.normaliser.mean);
  archive(data.normaliser.scale);
  archive(data.classes.classes);
  archive(data.classes.combinations);
  archive(data.combination_rows);
  archive(data.rows);
  archive(data.trunk);
  archive(data.calibration.hidden_weights);
  archive(data.calibration.hidden_bias);
  archive(data.calibration.output_weights);
  archive(data.calibration.output_bias);
  archive(data.calibration.abstain_below);
  archive(data.calibration.margin);
  archive(data.times.hidden1_weights);
  archive(data.times.hidden1_bias);
  archive(data.times.hidden2_weights);
  archive(data.times.hidden2_bias);
  archive(data.times.output_weights);
  archive(data.times.output_bias);
  archive(data.seen_shapes);
}

struct Header {
  std::array<char, 8> magic = kMagic;
  std::uint32_t version = kModelFormatVersion;
  std::uint32_t reserved = 0;
  std::uint64_t schema = 0;
  std::uint64_t payload_bytes = 0;
  std::uint64_t checksum = 0;
};
static_assert(sizeof(Header) == kModelHeaderBytes);

std::uint64_t checksum(const Header& header, std::span<const std::byte> payload) {
  XXH3_state_t state;
  XXH3_64bits_reset(&state);
  XXH3_64bits_update(&state, &header, offsetof(Header, checksum));
  XXH3_64bits_update(&state, payload.data(), payload.size());
  return XXH3_64bits_digest(&state);
}

core::Error system_error(const std::string& what) {
  return core::make_error(core::ErrorCode::kUnavailable, what + ": " + std::strerror(errno));
}

using File = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;

}  // namespace

std::vector<std::byte> encode_model(const ModelData& data) {
  Writer writer;
  visit(writer, data);
  const std::vector<std::byte> payload = writer.take();
  Header header;
  header.schema = feature_schema_hash();
  header.payload_bytes = payload.size();
  header.checksum = checksum(header, payload);
  std::vector<std::byte> file(sizeof header + payload.size());
  std::memcpy(file.data(), &header, sizeof header);
  std::ranges::copy(payload, file.begin() + sizeof header);
  return file;
}

core::Result<ModelData> decode_model(std::span<const std::byte> bytes) {
  Header header;
  if (bytes.size() < sizeof header) {
    return corrupt("not a model file: shorter than its header");
  }
  std::memcpy(&header, bytes.data(), sizeof header);
  if (header.magic != kMagic) {
    return corrupt("not a model file");
  }
  if (header.version != kModelFormatVersion) {
    return core::make_error(core::ErrorCode::kUnsupported,
                            "model file format " + std::to_string(header.version) +
                                "; this program reads " + std::to_string(kModelFormatVersion));
  }
  const std::span<const std::byte> payload = bytes.subspan(sizeof header);
  if (payload.size() != header.payload_bytes) {
    return corrupt("truncated or overlong: " + std::to_string(payload.size()) + " bytes of " +
                   std::to_string(header.payload_bytes));
  }
  if (checksum(header, payload) != header.checksum) {
    return corrupt("checksum does not match: the file was altered");
  }
  if (header.schema != feature_schema_hash()) {
    return core::make_error(core::ErrorCode::kUnsupported,
                            "trained with other input features: retrain it with this version");
  }
  ModelData data;
  Reader reader(payload);
  visit(reader, data);
  if (!reader.complete()) {
    return corrupt("sections do not fill the file");
  }
  data.info.classes = data.classes.classes.size();
  data.info.abstain_below = data.calibration.abstain_below;
  if (const core::Status status = validate(data); !status.ok()) {
    return status.error();
  }
  return data;
}

core::Status write_model(const ModelData& data, const std::filesystem::path& path) {
  const std::vector<std::byte> bytes = encode_model(data);
  const std::string temporary = path.string() + ".tmp" + std::to_string(::getpid());
  {
    const File file(std::fopen(temporary.c_str(), "wb"), &std::fclose);
    if (file == nullptr) {
      return system_error(temporary);
    }
    if (std::fwrite(bytes.data(), 1, bytes.size(), file.get()) != bytes.size() ||
        std::fflush(file.get()) != 0 || ::fsync(::fileno(file.get())) != 0) {
      const core::Error error = system_error(temporary);
      (void)std::remove(temporary.c_str());
      return error;
    }
  }
  if (std::rename(temporary.c_str(), path.c_str()) != 0) {
    const core::Error error = system_error(path.string());
    (void)std::remove(temporary.c_str());
    return error;
  }
  return core::ok_status();
}

core::Result<ModelData> read_model(const std::filesystem::path& path) {
  const File file(std::fopen(path.c_str(), "rb"), &std::fclose);
  std::error_code error;
  const std::uintmax_t size = std::filesystem::file_size(path, error);
  if (file == nullptr || error) {
    return core::make_error(
        core::ErrorCode::kUnavailable,
        path.string() + ": " + (error ? error.message() : std::string(std::strerror(errno))));
  }
  if (size > kMaxFileBytes) {
    return core::in_context(path.string(), corrupt("too large for a model file"));
  }
  std::vector<std::byte> bytes(size);
  if (std::fread(bytes.data(), 1, bytes.size(), file.get()) != bytes.size()) {
    return core::make_error(core::ErrorCode::kUnavailable, path.string() + ": cannot be read");
  }
  core::Result<ModelData> data = decode_model(bytes);
  if (!data.ok()) {
    return core::in_context(path.string(), data.error());
  }
  return data;
}

}  // namespace reformer::model
