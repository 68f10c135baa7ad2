// Collecting on a disk without room: a collection needs locks, and a lock needs a file.
#pragma once

#include <functional>
#include <string_view>

#include "tree/layout.h"

namespace nixery::maintenance {

// Makes the lock files of STATE that are missing. Where there is no room for them, removes build logs, failure records
// and names of attributes, one by one, until there is: all of them can be made again. Never throws: whoever then needs
// a lock that is still missing does.
void make_lock_files(const tree::Layout& layout);

// Calls `write`, which keeps something that a collection can do without. Its Error{storage} is logged behind `failing`:
// there may be no room before the collection, or after it.
void write_if_possible(std::string_view failing, const std::function<void()>& write);

}  // namespace nixery::maintenance
