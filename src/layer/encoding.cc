#include "layer/encoding.h"

#include <fmt/format.h>
#include <libdeflate.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <new>

#include "error.h"
#include "image/digest.h"
#include "layer/tar.h"

namespace nixery::layer {

namespace {

using Codec = Encoding::Codec;
using Level = Encoding::Level;

constexpr std::array codecs = {std::pair{Codec::gzip, std::string_view("gzip")},
                               std::pair{Codec::zstd, std::string_view("zstd")}};
constexpr std::array levels = {std::pair{Level::fast, std::string_view("fast")},
                               std::pair{Level::balanced, std::string_view("balanced")},
                               std::pair{Level::small, std::string_view("small")}};

// The libraries' levels, chosen by tests/bench/layers on /usr/lib. Against gzip -6: gzip-fast 8 % more bytes in a
// seventh of its processor time, gzip-balanced 1.4 % fewer in less than half. libdeflate's 11 and 12 gain 0.1 % over 10
// for twice the time; zstd's 7 to 17 gain almost nothing over 6 with frames of 1 MiB, 18 a tenth. ISA-L was no faster
// than libdeflate's 1 at its size.
int library_level(Encoding encoding) {
  const bool gzip = encoding.codec == Codec::gzip;
  switch (encoding.level) {
    case Level::fast: return gzip ? 1 : 2;
    case Level::balanced: return 6;
    case Level::small: break;
  }
  return gzip ? 10 : 18;
}

using namespace std::string_view_literals;

constexpr std::string_view gzip_head =
    "\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff\xcb\xcb\xac\xd0\x67\xa0\x31\x30\x00\x02\x73\x53\x53\x06\x03\x08\x40\xa1"
    "\x31\xd9\x86\x0c\x06\x86\x06\x06\x06\x26\x0c\x0a\xa6\x0c\x74\x00\xa5\xc5\x25\x89\x45\x0c\x06\x06\x0c\x94\x01\x0c"
    "\xcf\x0d\x11\x90\x97\x59\xa1\x5f\x5c\x92\x5f\x94\xaa\x3f\x98\xe2\xdf\xd0\xd0\xc4\x60\x34\xfe\xe9\x01\x00\x52\x18"
    "\x03\x40\x00\x04\x00\x00"sv;
constexpr std::string_view gzip_tail =
    "\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff\x63\x18\x05\xa3\x60\x14\x8c\x58\x00\x00\x2e\xaf\xb5\xef\x00\x04\x00\x00"sv;
constexpr std::string_view zstd_head =
    "\x28\xb5\x2f\xfd\x60\x00\x03\x4d\x02\x00\x12\x43\x0a\x11\xb0\xa9\x03\x40\x4b\x82\x10\x39\x8c\x08\x7f\x8c\x7d\x63"
    "\xa9\x50\x19\xe3\x9d\x8d\x63\x12\xb2\x45\x4a\xbf\x47\x24\xa4\x9a\xa0\xf8\xdf\xbd\x9b\x19\xfe\x6b\x8b\x94\x0a\x00"
    "\x63\x40\x25\x89\x01\x82\x42\x12\x50\x00\x36\x33\x18\x90\x0e\x78\xd3\x7c\xf1\xc0\x3d\x00\x0c\x87\x27\xa0\x05"sv;
constexpr std::string_view zstd_tail = "\x28\xb5\x2f\xfd\x60\x00\x03\x45\x00\x00\x08\x00\x01\x00\xfc\x2b\x20\x04"sv;

// A constant sample that compresses to about half, with matches at all distances.
std::string sample() {
  std::string text;
  std::uint32_t random = 1;
  while (text.size() < 256 << 10) {
    random = random * 1664525 + 1013904223;
    const std::uint32_t distance = random >> 12;
    if (random >> 31 && distance < text.size()) {
      text += text.substr(text.size() - distance - 1, 3 + (random >> 8) % 16);
    } else {
      text += static_cast<char>('a' + (random >> 24) % 32);
    }
  }
  text.resize(256 << 10);
  return text;
}

}  // namespace

std::optional<Encoding> Encoding::parse(std::string_view text) {
  for (const auto& [codec, codec_name] : codecs)
    for (const auto& [level, level_name] : levels)
      if (const Encoding encoding{codec, level}; text == encoding.name()) return encoding;
  return std::nullopt;
}

std::string Encoding::name() const {
  return fmt::format("{}-{}", codecs[static_cast<std::size_t>(codec)].second,
                     levels[static_cast<std::size_t>(level)].second);
}

std::optional<image::MediaType> Encoding::media_type(bool docker) const {
  if (codec == Codec::gzip) return docker ? image::MediaType::docker_layer_gzip : image::MediaType::oci_layer_gzip;
  if (docker) return std::nullopt;
  return image::MediaType::oci_layer_zstd;
}

std::string Encoding::library() const {
  return codec == Codec::gzip ? "libdeflate " LIBDEFLATE_VERSION_STRING : fmt::format("zstd {}", ZSTD_versionString());
}

std::string Encoding::library_here() const {
  std::string out(member_bound(), '\0');
  out.resize(MemberCompressor().compress(*this, sample(), out));
  return fmt::format("{} {}", library(), image::Digest::of(out).hex().substr(0, 16));
}

std::string_view Encoding::head() const {
  return codec == Codec::gzip ? gzip_head : zstd_head;
}
std::string_view Encoding::tail() const {
  return codec == Codec::gzip ? gzip_tail : zstd_tail;
}

const std::string& tar_head() {
  static const std::string head = tar_header(Entry::directory("nix")) + tar_header(Entry::directory("nix/store"));
  return head;
}

std::size_t member_bound() {
  static const std::size_t bound =
      std::max(libdeflate_gzip_compress_bound(nullptr, member_size), ZSTD_compressBound(member_size));
  return bound;
}

// Measured: what libdeflate 1.14 and zstd 1.5.4 allocate.
std::size_t working_memory(Encoding encoding) {
  const bool gzip = encoding.codec == Codec::gzip;
  switch (encoding.level) {
    case Level::fast: return gzip ? 210 << 10 : 760 << 10;
    case Level::balanced: return gzip ? 660 << 10 : 3600 << 10;
    case Level::small: break;
  }
  return gzip ? 8800 << 10 : 6400 << 10;
}

struct MemberCompressor::Context {
  std::optional<Encoding> encoding;  // the encoding of the existing context
  libdeflate_compressor* deflate = nullptr;
  ZSTD_CCtx* zstd = nullptr;

  void drop() {
    libdeflate_free_compressor(deflate);
    ZSTD_freeCCtx(zstd);
    deflate = nullptr;
    zstd = nullptr;
    encoding.reset();
  }

  void become(Encoding wanted) {
    if (encoding == wanted) return;
    drop();
    if (wanted.codec == Codec::gzip) {
      deflate = libdeflate_alloc_compressor(library_level(wanted));
      if (!deflate) throw std::bad_alloc();
    } else {
      zstd = ZSTD_createCCtx();
      if (!zstd) throw std::bad_alloc();
      ZSTD_CCtx_setParameter(zstd, ZSTD_c_compressionLevel, library_level(wanted));
      ZSTD_CCtx_setParameter(zstd, ZSTD_c_checksumFlag, 1);
      if (wanted.level == Level::small) {
        // 6 MiB of tables a thread in place of 17, for 0.1 % more bytes.
        ZSTD_CCtx_setParameter(zstd, ZSTD_c_hashLog, 18);
        ZSTD_CCtx_setParameter(zstd, ZSTD_c_chainLog, 20);
      }
    }
    encoding = wanted;
  }
};

MemberCompressor::MemberCompressor() : context_(std::make_unique<Context>()) {}
MemberCompressor::~MemberCompressor() {
  context_->drop();
}

std::size_t MemberCompressor::compress(Encoding encoding, std::string_view in, std::span<char> out) {
  context_->become(encoding);
  if (encoding.codec == Codec::gzip) {
    // Its header is fixed: no name, mtime 0, OS 255 (unknown).
    const std::size_t size = libdeflate_gzip_compress(context_->deflate, in.data(), in.size(), out.data(), out.size());
    if (size == 0) throw Error(Failure::storage, "libdeflate: a member does not fit its buffer");
    return size;
  }
  const std::size_t size = ZSTD_compress2(context_->zstd, out.data(), out.size(), in.data(), in.size());
  if (ZSTD_isError(size)) throw Error(Failure::storage, fmt::format("zstd: {}", ZSTD_getErrorName(size)));
  return size;
}

}  // namespace nixery::layer
