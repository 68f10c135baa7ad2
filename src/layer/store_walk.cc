#include "layer/store_walk.h"

#include <fmt/format.h>

#include <cerrno>

#include "error.h"
#include "os/file.h"

namespace nixery::layer {

namespace {

class Walk {
 public:
  Walk(StoreFiles& files, const store::StorePath& path, StoreVisitor& visitor)
      : files_(files), path_(path.base_name()), visitor_(visitor) {}

  void run() {
    const auto kind = files_.kind_of(path_);
    if (!kind) os::throw_errno("read", files_.full_path(path_));
    visit(*kind);
  }

 private:
  void visit(FileKind kind) {
    switch (kind) {
      case FileKind::directory: return directory();
      case FileKind::file: return visitor_.file(path_, files_.open(path_));
      case FileKind::symlink: return visitor_.symlink(path_, files_.link_target(path_));
      case FileKind::other: break;
    }
    throw Error(Failure::storage, fmt::format("{} is no file, directory or symlink", files_.full_path(path_)));
  }

  void directory() {
    visitor_.begin_directory(path_);
    const Listing listing = files_.list(path_, listing_room_);
    listing_room_ -= listing.bytes();
    const std::size_t length = path_.size();
    for (std::size_t i = 0; i < listing.size(); ++i) {
      const auto [name, kind] = listing[i];
      visitor_.begin_entry(name);
      path_ += '/';
      path_ += name;
      visit(kind);
      path_.resize(length);
      visitor_.end_entry();
    }
    listing_room_ += listing.bytes();
    visitor_.end_directory();
  }

  StoreFiles& files_;
  std::string path_;  // of what is being visited
  StoreVisitor& visitor_;
  std::size_t listing_room_ = StoreFiles::max_listing;  // bytes that the listings of further directories may take
};

}  // namespace

void visit_store_path(StoreFiles& files, const store::StorePath& path, StoreVisitor& visitor) {
  Walk(files, path, visitor).run();
}

}  // namespace nixery::layer
