#include "layer/walk.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <memory>
#include <span>
#include <string>

#include "layer/nar.h"
#include "layer/remembered_files.h"
#include "layer/store_walk.h"
#include "layer/tar.h"
#include "os/file.h"

namespace nixery::layer {

namespace {

constexpr std::uint64_t link_threshold = 16 << 10;  // bytes; below it, looking for twins costs more than it saves

class TarWriter : public StoreVisitor {
 public:
  TarWriter(Sink& sink, StoreFiles& files) : sink_(sink), files_(files) {}

  std::uint64_t nar_size() const { return nar_.bytes(); }

 private:
  static std::string name_of(const std::string& path) { return "nix/store/" + path; }

  void begin_directory(const std::string& path) override {
    nar_.directory();
    sink_.append(tar_header({Entry::Kind::directory, name_of(path), 0555, {}, 0}));
  }
  void begin_entry(std::string_view name) override { nar_.entry(name.size()); }
  void end_entry() override {}
  void end_directory() override {}

  void symlink(const std::string& path, const std::string& target) override {
    nar_.symlink(target.size());
    sink_.append(tar_header({Entry::Kind::symlink, name_of(path), 0777, target, 0}));
  }

  void file(const std::string& path, StoreFiles::File file) override {
    const auto size = static_cast<std::uint64_t>(file.info.st_size);
    const bool executable = (file.info.st_mode & S_IXUSR) != 0;
    const unsigned mode = executable ? 0555 : 0444;
    nar_.file(size, executable);

    if (size >= link_threshold) {
      const std::string twin = find_twin(path, file, executable);
      if (!twin.empty()) {
        sink_.append(tar_header({Entry::Kind::hard_link, name_of(path), mode, name_of(twin), 0}));
        return;
      }
    }
    sink_.append(tar_header({Entry::Kind::file, name_of(path), mode, {}, size}));
    for (std::uint64_t left = size; left > 0;) {
      const std::span<char> buffer = sink_.buffer();
      const std::size_t n = file.read(buffer.data(), std::min<std::uint64_t>(left, buffer.size()), files_, path);
      if (n == 0) throw_changed(files_.full_path(path));
      sink_.advance(n);
      left -= n;
    }
    sink_.append(tar_padding(size));
    struct stat after;
    if (fstat(file.fd.get(), &after) != 0) os::throw_errno("read", files_.full_path(path));
    if (after.st_size != file.info.st_size) throw_changed(files_.full_path(path));
  }

  // The path of an earlier file of the same contents and mode, or "" if there is none; then this one is remembered.
  std::string find_twin(const std::string& path, const StoreFiles::File& file, bool executable) {
    const auto size = static_cast<std::uint64_t>(file.info.st_size);
    for (auto i = remembered_.first(size); i != RememberedFiles::none; i = remembered_[i].next) {
      const RememberedFiles::File& other = remembered_[i];
      if (other.executable != executable) continue;
      const bool same_inode = other.device == file.info.st_dev && other.inode == file.info.st_ino;
      std::string twin = remembered_.path_of(other);
      if (same_inode || same_contents(file, path, twin)) return twin;
    }
    remembered_.add(path, file.info, executable);
    return {};
  }

  bool same_contents(const StoreFiles::File& file, const std::string& path, const std::string& other_path) {
    const StoreFiles::File other = files_.open(other_path);
    if (!left_) {
      left_ = std::make_unique<Block>();
      right_ = std::make_unique<Block>();
    }
    std::size_t want = 4096;  // what differs mostly does so at once
    for (off_t at = 0;;) {
      const ssize_t a = pread(file.fd.get(), left_->data(), want, at);
      if (a < 0) os::throw_errno("read", files_.full_path(path));
      const ssize_t b = pread(other.fd.get(), right_->data(), want, at);
      if (b < 0) os::throw_errno("read", files_.full_path(other_path));
      if (a != b || !std::equal(left_->begin(), left_->begin() + a, right_->begin())) return false;
      if (a == 0) return true;
      at += a;
      want = left_->size();
    }
  }

  using Block = std::array<char, 64 << 10>;

  Sink& sink_;
  StoreFiles& files_;
  NarSize nar_;
  RememberedFiles remembered_;
  std::unique_ptr<Block> left_, right_;
};

}  // namespace

std::uint64_t append_store_path(Sink& sink, const std::filesystem::path& root, const store::StorePath& path) {
  StoreFiles files(root);
  TarWriter writer(sink, files);
  visit_store_path(files, path, writer);
  return writer.nar_size();
}

}  // namespace nixery::layer
