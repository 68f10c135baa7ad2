// The tree of one store path, in the order of its NAR: a directory, then what is in it, names ascending bytewise.
#pragma once

#include <string>
#include <string_view>

#include "layer/store_files.h"
#include "store/store_path.h"

namespace nixery::layer {

// The visitor. `path` is relative to the store, as in StoreFiles.
class StoreVisitor {
 public:
  virtual ~StoreVisitor() = default;
  virtual void begin_directory(const std::string& path) = 0;
  virtual void begin_entry(std::string_view name) = 0;  // of the directory; the entry itself is visited next
  virtual void end_entry() = 0;
  virtual void end_directory() = 0;
  virtual void file(const std::string& path, StoreFiles::File file) = 0;
  virtual void symlink(const std::string& path, const std::string& target) = 0;
};

// Recursive: the depth is bounded, as a path has at most 4,096 bytes. The names of all directories on the way down to
// what is visited take at most StoreFiles::max_listing bytes. Throws Error{storage} for what cannot be read or is no
// file, directory or symlink, Error{corrupt} for what changes meanwhile, Error{package_too_large}; all name the path.
void visit_store_path(StoreFiles& files, const store::StorePath& path, StoreVisitor& visitor);

}  // namespace nixery::layer
