// Checks of the two directories: who may do what with them, and whether there is room.
#pragma once

#include <vector>

#include "doctor/finding.h"
#include "doctor/setup.h"

namespace nixery::doctor {

// Exists, is a directory of the worker's, can be written by it, and so can its entries, judged by their modes.
// Within os::act_as(worker).
Finding check_directory(const std::string& name, const fs::path& directory, const os::User& worker);
// That files can be renamed from where they are written to where they are served, and STATE is not served.
Finding check_layout(const std::filesystem::path& tree, const std::filesystem::path& state);
// That the web server's user can read the tree; nothing if that user is not known.
std::vector<Finding> check_reading(const Setup& setup);
// Incomplete files that interrupted writers left behind.
Finding check_orphans(const std::filesystem::path& tree);

struct Room {
  std::uint64_t bytes = 0;                      // free, for users other than root
  std::uint64_t inodes = 0, inodes_in_all = 0;  // both 0 if the file system has no such limit
  std::uint64_t least = 0;                      // NIXERY_MIN_FREE, if it applies
};
Finding judge_room(const std::string& name, const std::string& where, const Room& room);
// Of TREE, STATE and the store; a file system that they share is reported once.
std::vector<Finding> check_room(const Setup& setup);

}  // namespace nixery::doctor
