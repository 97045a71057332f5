#include "interchange/measurements.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

namespace reformer::interchange {
namespace {

constexpr std::size_t kChunkBytes = std::size_t{1} << 17;
// 4096 candidates take about a megabyte.
constexpr std::size_t kMaxLineBytes = std::size_t{16} << 20;
constexpr std::array<unsigned char, 4> kZstdMagic{0x28, 0xb5, 0x2f, 0xfd};
constexpr int kLevel = 12;

struct FileCloser {
  void operator()(std::FILE* file) const { (void)std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, FileCloser>;

struct DecompressorDeleter {
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};
struct CompressorDeleter {
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
};

core::Error file_error(const std::filesystem::path& path, std::string_view what) {
  const core::ErrorCode code = errno == ENOSPC || errno == EDQUOT ? core::ErrorCode::kExhausted
                                                                  : core::ErrorCode::kUnavailable;
  return core::make_error(code,
                          path.string() + ": " + std::string(what) + ": " + std::strerror(errno));
}

}  // namespace

struct MeasurementReader::Impl {
  std::filesystem::path path;
  File file;
  std::unique_ptr<ZSTD_DCtx, DecompressorDeleter> decompressor;  // null: plain
  std::vector<char> input = std::vector<char>(kChunkBytes);
  std::size_t input_used = 0;
  std::size_t input_size = 0;
  bool frame_open = false;  // a zstd frame has begun and not ended
  std::string text;         // decompressed, from `text_at` not yet handed out
  std::size_t text_at = 0;
  std::uint64_t consumed = 0;
  std::uint64_t total = 0;
  std::uint64_t line = 0;
  bool broken = false;
  bool ended = false;

  core::Error fail(core::Error error) {
    broken = true;
    return error;
  }

  // Refills `input`. False at the end of the file.
  core::Result<bool> read_chunk() {
    input_used = 0;
    input_size = std::fread(input.data(), 1, input.size(), file.get());
    consumed += input_size;
    if (input_size == 0 && std::ferror(file.get()) != 0) {
      return fail(file_error(path, "cannot read"));
    }
    return input_size > 0;
  }

  // Appends more text. False at the end.
  core::Result<bool> more_text() {
    if (text_at > 0) {
      text.erase(0, text_at);
      text_at = 0;
    }
    if (decompressor == nullptr) {
      core::Result<bool> more = input_used < input_size ? core::Result<bool>(true) : read_chunk();
      if (more && *more) {
        text.append(input.data() + input_used, input_size - input_used);
        input_used = input_size;
      }
      return more;
    }
    return more_decompressed();
  }

  core::Result<bool> more_decompressed() {
    if (input_used == input_size) {
      const core::Result<bool> more = read_chunk();
      if (!more) {
        return more;
      }
      if (!*more) {
        if (frame_open) {
          return fail(core::make_error(core::ErrorCode::kCorrupt,
                                       path.string() + ": ends in the middle of a zstd frame"));
        }
        return false;
      }
    }
    // Filled by what comes next. NOLINTNEXTLINE(cppcoreguidelines-pro-type-member-init)
    std::array<char, kChunkBytes> output;
    ZSTD_inBuffer in{input.data(), input_size, input_used};
    ZSTD_outBuffer out{output.data(), output.size(), 0};
    const std::size_t left = ZSTD_decompressStream(decompressor.get(), &out, &in);
    if (ZSTD_isError(left) != 0) {
      return fail(core::make_error(core::ErrorCode::kCorrupt,
                                   path.string() + ": zstd: " + ZSTD_getErrorName(left)));
    }
    frame_open = left != 0;
    input_used = in.pos;
    text.append(output.data(), out.pos);
    return true;
  }

  // The next line without its newline; empty at the end.
  core::Lookup<std::string_view> next_line() {
    std::size_t searched = text_at;
    while (true) {
      const std::size_t end = text.find('\n', searched);
      if (end != std::string::npos) {
        const std::string_view found(text.data() + text_at, end - text_at);
        text_at = end + 1;
        ++line;
        return std::optional(found);
      }
      searched = text.size() - text_at;
      if (searched > kMaxLineBytes) {
        return fail(core::make_error(
            core::ErrorCode::kCorrupt,
            path.string() + ": line " + std::to_string(line + 1) + " is longer than 16 MiB"));
      }
      const core::Result<bool> more = more_text();
      if (!more) {
        return more.error();
      }
      if (!*more) {
        return last_line();
      }
    }
  }

  // What follows the last newline.
  core::Lookup<std::string_view> last_line() {
    ended = true;
    if (text_at >= text.size()) {
      return std::optional<std::string_view>();
    }
    const std::string_view rest(text.data() + text_at, text.size() - text_at);
    text_at = text.size();
    ++line;
    return std::optional(rest);
  }
};

MeasurementReader::MeasurementReader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
MeasurementReader::~MeasurementReader() = default;

core::Result<std::unique_ptr<MeasurementReader>> MeasurementReader::open(
    const std::filesystem::path& path) {
  auto impl = std::make_unique<Impl>();
  impl->path = path;
  impl->file.reset(std::fopen(path.c_str(), "rbe"));
  struct stat information {};
  if (impl->file == nullptr || fstat(fileno(impl->file.get()), &information) != 0) {
    return file_error(path, "cannot open");
  }
  if (S_ISDIR(information.st_mode)) {
    errno = EISDIR;
    return file_error(path, "cannot read");
  }
  impl->total = static_cast<std::uint64_t>(information.st_size);
  const core::Result<bool> first = impl->read_chunk();
  if (!first) {
    return first.error();
  }
  if (impl->input_size >= kZstdMagic.size() &&
      std::memcmp(impl->input.data(), kZstdMagic.data(), kZstdMagic.size()) == 0) {
    impl->decompressor.reset(ZSTD_createDCtx());
    if (impl->decompressor == nullptr) {
      return core::make_error(core::ErrorCode::kExhausted, path.string() + ": not enough memory");
    }
    // Windows up to what zstd --long=27 makes: the file cannot ask for more memory than that.
    (void)ZSTD_DCtx_setParameter(impl->decompressor.get(), ZSTD_d_windowLogMax, 27);
  }
  return std::unique_ptr<MeasurementReader>(new MeasurementReader(std::move(impl)));
}

core::Lookup<core::Record> MeasurementReader::next() {
  while (true) {
    if (impl_->broken) {
      return core::make_error(core::ErrorCode::kCorrupt,
                              impl_->path.string() + ": cannot be read further");
    }
    if (impl_->ended) {
      return std::optional<core::Record>();
    }
    const core::Lookup<std::string_view> line = impl_->next_line();
    if (!line) {
      return line.error();
    }
    if (!line->has_value()) {
      return std::optional<core::Record>();
    }
    if ((*line)->find_first_not_of(" \t\r") == std::string_view::npos) {
      continue;
    }
    core::Result<core::Record> record = record_from_json(**line);
    if (!record) {
      return core::in_context(impl_->path.string() + ": line " + std::to_string(impl_->line),
                              record.error());
    }
    return std::optional(std::move(*record));
  }
}

bool MeasurementReader::broken() const {
  return impl_->broken;
}
std::uint64_t MeasurementReader::bytes_consumed() const {
  return impl_->consumed;
}
std::uint64_t MeasurementReader::bytes_total() const {
  return impl_->total;
}
std::uint64_t MeasurementReader::line() const {
  return impl_->line;
}

Compression compression_for(const std::filesystem::path& path) {
  return path.extension() == ".zst" ? Compression::kZstd : Compression::kNone;
}

struct MeasurementWriter::Impl {
  std::filesystem::path path;
  std::filesystem::path temporary;
  File file;
  std::unique_ptr<ZSTD_CCtx, CompressorDeleter> compressor;  // null: plain
  std::vector<char> output = std::vector<char>(kChunkBytes);

  core::Status put(const char* bytes, std::size_t count) {
    if (std::fwrite(bytes, 1, count, file.get()) != count) {
      return file_error(temporary, "cannot write");
    }
    return core::ok_status();
  }

  core::Status compress(std::string_view text, ZSTD_EndDirective mode) {
    ZSTD_inBuffer in{text.data(), text.size(), 0};
    while (true) {
      ZSTD_outBuffer out{output.data(), output.size(), 0};
      const std::size_t left = ZSTD_compressStream2(compressor.get(), &out, &in, mode);
      if (ZSTD_isError(left) != 0) {
        return core::make_error(core::ErrorCode::kInternal,
                                std::string("zstd: ") + ZSTD_getErrorName(left));
      }
      if (const core::Status done = put(output.data(), out.pos); !done) {
        return done;
      }
      if (mode == ZSTD_e_end ? left == 0 : in.pos == in.size) {
        return core::ok_status();
      }
    }
  }
};

MeasurementWriter::MeasurementWriter(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

MeasurementWriter::~MeasurementWriter() {
  if (impl_->file != nullptr) {
    (void)unlink(impl_->temporary.c_str());
  }
}

core::Result<std::unique_ptr<MeasurementWriter>> MeasurementWriter::create(
    const std::filesystem::path& path, Compression compression) {
  auto impl = std::make_unique<Impl>();
  impl->path = path;
  impl->temporary = path.string() + ".partial-" + std::to_string(getpid());
  impl->file.reset(std::fopen(impl->temporary.c_str(), "wbxe"));
  if (impl->file == nullptr) {
    return file_error(impl->temporary, "cannot create");
  }
  if (compression == Compression::kZstd) {
    impl->compressor.reset(ZSTD_createCCtx());
    if (impl->compressor == nullptr) {
      (void)unlink(impl->temporary.c_str());
      return core::make_error(core::ErrorCode::kExhausted, path.string() + ": not enough memory");
    }
    (void)ZSTD_CCtx_setParameter(impl->compressor.get(), ZSTD_c_compressionLevel, kLevel);
    (void)ZSTD_CCtx_setParameter(impl->compressor.get(), ZSTD_c_checksumFlag, 1);
  }
  return std::unique_ptr<MeasurementWriter>(new MeasurementWriter(std::move(impl)));
}

core::Status MeasurementWriter::write(const core::Record& record) {
  return write_line(record_to_json(record));
}

core::Status MeasurementWriter::write_line(std::string_view json) {
  if (impl_->compressor == nullptr) {
    const core::Status done = impl_->put(json.data(), json.size());
    return done ? impl_->put("\n", 1) : done;
  }
  const core::Status done = impl_->compress(json, ZSTD_e_continue);
  return done ? impl_->compress("\n", ZSTD_e_continue) : done;
}

core::Status MeasurementWriter::finish() {
  if (impl_->compressor != nullptr) {
    if (const core::Status done = impl_->compress({}, ZSTD_e_end); !done) {
      return done;
    }
  }
  if (std::fflush(impl_->file.get()) != 0 || fsync(fileno(impl_->file.get())) != 0) {
    return file_error(impl_->temporary, "cannot write");
  }
  if (std::fclose(impl_->file.release()) != 0 ||
      std::rename(impl_->temporary.c_str(), impl_->path.c_str()) != 0) {
    const core::Error error = file_error(impl_->path, "cannot put in place");
    (void)unlink(impl_->temporary.c_str());
    return error;
  }
  return core::ok_status();
}

}  // namespace reformer::interchange
