// The root file system of an image: the packages' outputs merged by symlinks into the store, like nixpkgs' buildEnv,
// and the few files that programs expect of any system.
//
// Reads the outputs' directories, writes nothing. Deterministic: the same arguments and store give the same entries.
#pragma once

#include <filesystem>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "layer/entry_list.h"
#include "store/closure.h"
#include "store/store_path.h"

namespace nixery::layer {

// One output of a package. If two have the same file, the lower priority number wins, then the earlier one.
struct PackageOutput {
  store::StorePath path;
  int priority = 5;  // meta.priority; 5 is nixpkgs' default
};

struct Conflict {
  std::string path;                 // "bin/vi"
  std::string winner;               // "/nix/store/…-vim-9.0/bin/vi"
  std::vector<std::string> losers;  // likewise
};

struct Rootfs {
  // Of the whole layer, parents before children. Without nix/ and nix/store/, which every layer begins with.
  EntryList entries;
  std::vector<Conflict> conflicts;    // 1,000 at most, ascending by path
  std::vector<std::string> warnings;  // one line for each conflict, and the number of further ones
  std::vector<std::string> programs;  // names in the image's /bin, ascending
  bool has_certificates = false;      // /etc/ssl/certs/ca-bundle.crt
};

// Part of an image's key: raise it when the same packages give another root file system.
inline constexpr int rootfs_version = 2;

// Lines of /etc/passwd, group, shadow and gshadow.
struct AccountLines {
  std::string passwd, group, shadow, gshadow;
};
// Of the base users (reference/base_users.h), for passwd and group. `shell`: of those who have one.
AccountLines base_accounts(std::string_view shell);

// Rules:
// * Each output's top-level directories are united, but for nix-support and what a system owns (nix, dev, proc, sys).
//   A directory that one output alone gives is a symlink to it; one that several give, each top-level one, and those
//   that base files go into are real directories. A symlink to a directory counts as a directory.
// * nix-support/propagated-user-env-packages are followed, with lower precedence than all that were asked for.
// * Base files where no package gives them: /etc/passwd and group (reference/base_users.h), nsswitch.conf, /tmp and
// /var/tmp
//   1777, /root 0700, /var, /run; /bin/sh and /usr/bin/env as links to what the union or else the closure has;
//   /etc/ssl/certs/ca-bundle.crt and ca-certificates.crt from `cacert`.
// Symlinks are followed within `closure` only (closure_reader.h); one that leads elsewhere is a link like a file.
// `packages` are in order of precedence; `root` is where /nix/store lies. Throws Error{storage} for what cannot be
// read, Error{package_too_large} and Error{timed_out} beyond the limits of ClosureReader and unite(), and
// Error{unavailable} once `stop` is requested.
Rootfs plan_rootfs(const std::vector<PackageOutput>& packages, const std::optional<store::StorePath>& cacert,
                   const store::Closure& closure, const std::filesystem::path& root = "/",
                   const std::stop_token& stop = {});

}  // namespace nixery::layer
