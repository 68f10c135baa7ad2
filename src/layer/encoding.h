// The compression of a layer's tar, and its media type.
//
// A layer is a sequence of independent gzip members (RFC 1952) or zstd frames (RFC 8878), each of at most member_size
// bytes of tar, so that they can be compressed on all cores and concatenated in other groupings.
#pragma once

#include <compare>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "image/media_type.h"

namespace nixery::layer {

// Part of every key: raise it when the same store path and setting give other bytes (tar, member size, levels).
inline constexpr int format_version = 1;

// Bytes of tar in a member. 1 MiB costs 0.4 % less than 256 KiB; more hardly helps gzip, and it is memory.
inline constexpr std::size_t member_size = 1 << 20;

struct Encoding {
  enum class Codec { gzip, zstd };
  enum class Level { fast, balanced, small };

  Codec codec = Codec::gzip;
  Level level = Level::fast;

  static std::optional<Encoding> parse(std::string_view text);  // "gzip-fast", "zstd-small", …
  std::string name() const;                                     // the same

  // nullopt for zstd in docker's format, which has no such media type.
  std::optional<image::MediaType> media_type(bool docker) const;

  // "libdeflate 1.14": the library that this program was compiled with (zstd: that it runs with), for recipes.
  std::string library() const;

  // library() with a hash of this library's output for a sample, which distinguishes builds of the same version.
  // Compresses 256 KiB.
  std::string library_here() const;

  // The encoded beginning and end of every layer: the directories nix/ and nix/store/, and the end of the archive.
  // Constants, so that no upgrade changes them.
  std::string_view head() const;
  std::string_view tail() const;

  auto operator<=>(const Encoding&) const = default;
};

// The tar bytes that head() and tail() encode. Each layer has the parents of its store paths: docker before 24 makes
// missing ones in some drivers with mode 0600, and on overlay the topmost layer's directory takes effect.
const std::string& tar_head();
inline constexpr std::size_t tar_tail_size = 1024;  // zeros

// A buffer of this size fits any member, raw or compressed.
std::size_t member_bound();

// Approximate bytes of a MemberCompressor for `encoding`.
std::size_t working_memory(Encoding encoding);

// Compresses members; reuses the library's working memory. Not thread-safe.
class MemberCompressor {
 public:
  MemberCompressor();
  ~MemberCompressor();

  // At most member_size bytes of `in`; `out` holds member_bound(). Returns the bytes written.
  std::size_t compress(Encoding encoding, std::string_view in, std::span<char> out);

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

}  // namespace nixery::layer
