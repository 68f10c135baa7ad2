// Collecting on a full disk: a collection needs locks, and a lock needs a file.
#pragma once

#include <functional>
#include <string_view>

#include "tree/blob_store.h"
#include "tree/local_state.h"

namespace nixery::maintenance {

// Makes what the store's locks need. If there is no room for it, removes build logs, failure records and names of
// attributes, one by one, until there is: all of them can be made again. A lock that is still missing fails when it is
// taken.
void prepare_locks(const tree::BlobStore& store, const tree::LocalState& local);

// Calls `write`, which stores something that a collection does not require. Its Error{storage} is logged as the event
// `failing`, because the disk may be full before or after the collection.
void write_if_possible(std::string_view failing, const std::function<void()>& write);

}  // namespace nixery::maintenance
