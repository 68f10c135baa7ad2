// Runs a test on a blob store in a directory and on one in memory.
#pragma once

#include <doctest/doctest.h>

#include <functional>
#include <memory>

#include "memory_store.h"
#include "temporary_directory.h"
#include "tree/directory_store.h"

namespace nixery::test {

inline void on_each_store(const std::function<void(const std::shared_ptr<const tree::BlobStore>&)>& test) {
  SUBCASE("on a directory") {
    const TemporaryDirectory dir;
    const auto store = std::make_shared<tree::DirectoryStore>(dir.path() / "tree", dir.path() / "state");
    store->prepare();
    test(store);
  }
  SUBCASE("in memory") {
    test(std::make_shared<MemoryStore>());
  }
}

}  // namespace nixery::test
