// Adds a declaration's users, directories and files to a root file system.
#pragma once

#include <string>
#include <vector>

#include "layer/closure_reader.h"
#include "layer/rootfs.h"
#include "layer/tar.h"
#include "reference/root_additions.h"

namespace nixery::layer {

// The declared directories and files with their owners, without their parents.
std::vector<Entry> entries_of(const reference::RootAdditions& additions);
// The homes of the users, but for those that are declared as directories.
std::vector<Entry> homes_of(const reference::RootAdditions& additions);

// Of the declared users. `shell`: of those without one; may be empty.
AccountLines account_lines(const reference::RootAdditions& additions, const std::string& shell);

// Rules:
// * What is declared replaces a file or link of a package. A home that exists stays as it is.
// * A link to a package's directory on the way becomes a real directory with links to what it holds.
// * Users are appended to /etc/passwd and group. If a package brings one of them, a file with the base users takes its
//   place, with a warning, since a package's file cannot be extended.
// `reader` reads the closure of `root`. Throws what `reader` does, and Error{bad_declaration} if a file of a package is
// on the way to something declared, or a directory is in the place of a declared file.
void add_to(Rootfs& root, const reference::RootAdditions& additions, ClosureReader& reader);

}  // namespace nixery::layer
