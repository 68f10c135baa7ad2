// Names of the objects in the directories of a DirectoryStore. Private to tree/.
#pragma once

#include <functional>
#include <string_view>

#include "tree/layout.h"

namespace nixery::tree {

// Calls `visit` for names of a kind until it returns false; `prefix` as for BlobStore::list(). Only what has the shape
// of a name is shown; whether it is an object is for the caller to see. Symbolic links to directories are not followed:
// they could lead in circles. Throws Error{storage} for a directory that cannot be read.
void walk(const Layout& layout, Kind kind, std::string_view prefix,
          const std::function<bool(const ObjectName&)>& visit);

}  // namespace nixery::tree
