// Archives of package sources, unpacked so that nothing in them leads out of the directory.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <stop_token>

namespace nixery::nix {

// nixpkgs has about 50,000 entries and 300 MB.
struct UnpackLimits {
  std::uint64_t bytes = 8ull << 30;  // of all files, holes counted as zeros
  std::uint64_t entries = 2'000'000;
  std::chrono::seconds time{1800};
};

// Unpacks the tar file `archive` (not compressed, or with gzip, bzip2, xz or zstd) into `directory`, less the first
// component of every name. Takes directories, regular files, symbolic links, which it never follows, and hard links to
// files of the archive; modes are 0644 or 0755, modification times are now. Thread-safe.
//
// Throws Error{unavailable} for a damaged archive, any other kind of member, a name that is missing, absolute, has an
// empty component or "..", is there twice or leads through a link, for a limit, and for `stop`; Error{storage} if
// `directory` cannot be written. `directory` may then hold a part.
void unpack(const std::filesystem::path& archive, const std::filesystem::path& directory, const UnpackLimits& limits,
            const std::stop_token& stop);

}  // namespace nixery::nix
