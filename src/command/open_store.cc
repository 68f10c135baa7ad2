#include "command/open_store.h"

#include "tree/directory_store.h"

namespace nixery::command {

std::shared_ptr<const tree::BlobStore> open_store(const Config& config) {
  return std::make_shared<tree::DirectoryStore>(config.tree, config.state);
}

}  // namespace nixery::command
