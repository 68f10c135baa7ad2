// The store of published images that the settings name.
#pragma once

#include <memory>

#include "config.h"
#include "tree/blob_store.h"

namespace nixery::command {

std::shared_ptr<const tree::BlobStore> open_store(const Config& config);

}  // namespace nixery::command
