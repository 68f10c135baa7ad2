// Our own tar writer: POSIX.1-1988 ustar headers, with a pax extended header (POSIX.1-2001) only if ustar cannot
// represent an entry.
//
// Digests depend on these bytes permanently, so no library writes them; a change here needs a new format_version
// (encoding.h). Owners are numbers, 0:0 but for what a declared image says otherwise; mtime 1, as in the store.
//
// Long names are split at a '/' into ustar's prefix where that is possible, else they go into a pax `path`; link
// targets over 100 bytes into `linkpath`; sizes of 8 GiB and more into `size`; owners over 2097151 into `uid` and
// `gid`. Names are bytes: ustar takes them raw, and a pax header with a name that is not UTF-8 says `hdrcharset=BINARY`
// first (libarchive requires it, Go and GNU tar ignore it).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "layer/sink.h"

namespace nixery::layer {

struct Entry {
  enum class Kind { directory, file, symlink, hard_link };

  Kind kind = Kind::file;
  std::string name;        // "nix/store/…", "etc/passwd": raw bytes, no slash at either end
  unsigned mode = 0;       // permission bits, 07777 at most
  std::string content;     // of a file held in memory; the target of a link
  std::uint64_t size = 0;  // of a file whose data follows separately; append_entry() uses content's
  std::uint32_t uid = 0, gid = 0;

  static Entry directory(std::string name, unsigned mode = 0755);
  static Entry file(std::string name, std::string content, unsigned mode = 0644);
  static Entry symlink(std::string name, std::string target);

  bool operator==(const Entry&) const = default;
};

inline constexpr std::size_t tar_block = 512;

// The header block, with the pax blocks before it where needed; `size` bytes of data and padding are to follow.
std::string tar_header(const Entry& entry);

// Bytes that fill `size` up to whole blocks.
std::string_view tar_padding(std::uint64_t size);

// Header, data and padding of an entry that is held in memory.
void append_entry(Sink& sink, const Entry& entry);

}  // namespace nixery::layer
