// A store path as a stream of tar, with exactly the information of its NAR.
//
// Two hosts that hold the same NAR give the same bytes. So, of the file system, only names, contents, link targets and
// the executable bit are read, as a NAR has them: modes are 0555 or 0444, directories 0555, symlinks 0777; xattrs,
// capabilities and setuid bits do not exist; holes of sparse files are written as the zeros that they read as. Hard
// links: whether two files share an inode differs between a host that built the path, one that substituted it and one
// that ran `nix-store --optimise`. So files of 16 KiB and more with the same contents and mode within one store path
// become hard links, regardless of their inodes. A file is compared with up to 16 earlier ones of its size. To bound
// the memory, files are remembered for that until their paths, with 64 bytes added for each, take 32 MiB: about 260,000
// files with paths of 64 bytes. No later one is remembered then.
//
// Order: a directory, then what is in it, names ascending bytewise (the order of a NAR). No symlink is followed.
#pragma once

#include <cstdint>
#include <filesystem>

#include "layer/sink.h"
#include "store/store_path.h"

namespace nixery::layer {

// Appends the entries of `path`, named "nix/store/…". `root` is the directory in which /nix/store lies: "/" unless a
// chroot store is used. Reads file data in pieces, straight into the sink's buffers; few descriptors are open at once.
// Returns the size of the NAR of what it read: less than Nix registered if files were truncated or missing. Throws
// Error{storage} for what cannot be read, Error{corrupt} for a file that changed meanwhile, and
// Error{package_too_large} for a directory of more entries than StoreFiles lists; all name the path.
std::uint64_t append_store_path(Sink& sink, const std::filesystem::path& root, const store::StorePath& path);

}  // namespace nixery::layer
