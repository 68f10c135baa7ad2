// What a declared image adds to its root file system: users, directories and small files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace nixery::reference {

inline constexpr std::size_t max_users = 64;
inline constexpr std::size_t max_directories = 256;
inline constexpr std::size_t max_files = 64;
inline constexpr std::size_t max_file_content = 64 << 10;  // bytes

struct Owner {
  std::uint32_t uid = 0, gid = 0;
  bool operator==(const Owner&) const = default;
};

struct DeclaredUser {
  std::string name;  // not one of base_users
  std::uint32_t uid = 0, gid = 0;
  std::string home;   // absolute
  std::string shell;  // absolute; empty: the image's /bin/sh, or none
  bool operator==(const DeclaredUser&) const = default;
};

struct DeclaredDirectory {
  std::string path;  // problem_of_image_path() has nothing against it
  Owner owner;
  std::uint32_t mode = 0755;  // permission bits, 07777 at most
  bool operator==(const DeclaredDirectory&) const = default;
};

struct DeclaredFile {
  std::string path;  // likewise
  std::string content;
  Owner owner;
  std::uint32_t mode = 0644;  // likewise
  bool operator==(const DeclaredFile&) const = default;
};

struct RootAdditions {
  std::vector<DeclaredUser> users;             // ascending by uid
  std::vector<DeclaredDirectory> directories;  // ascending by path, as files; no path is in both
  std::vector<DeclaredFile> files;

  bool empty() const { return users.empty() && directories.empty() && files.empty(); }
  bool operator==(const RootAdditions&) const = default;
};

}  // namespace nixery::reference
