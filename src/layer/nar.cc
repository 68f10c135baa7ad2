#include "layer/nar.h"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <initializer_list>
#include <memory>

#include "image/digest.h"
#include "layer/store_walk.h"

namespace nixery::layer {

namespace {

constexpr std::string_view magic = "nix-archive-1";

// A string, as file contents are one too: its length, 8 bytes little-endian, then itself, with zeros up to whole words.
constexpr std::uint64_t string_size(std::uint64_t size) {
  return 8 + (size + 7) / 8 * 8;
}

constexpr std::uint64_t words_size(std::initializer_list<std::string_view> words) {
  std::uint64_t sum = 0;
  for (const std::string_view word : words) sum += string_size(word.size());
  return sum;
}

class Hasher : public StoreVisitor {
 public:
  explicit Hasher(const StoreFiles& files) : files_(files) { text(magic); }

  Nar finish() { return {hash_.finish().hex(), size_}; }

 private:
  void begin_directory(const std::string&) override { texts({"(", "type", "directory"}); }
  void begin_entry(std::string_view name) override { texts({"entry", "(", "name", name, "node"}); }
  void end_entry() override { text(")"); }
  void end_directory() override { text(")"); }

  void symlink(const std::string&, const std::string& target) override {
    texts({"(", "type", "symlink", "target", target, ")"});
  }

  void file(const std::string& path, StoreFiles::File file) override {
    texts({"(", "type", "regular"});
    if (file.info.st_mode & S_IXUSR) texts({"executable", ""});
    text("contents");
    const auto size = static_cast<std::uint64_t>(file.info.st_size);
    number(size);
    for (std::uint64_t left = size; left > 0;) {
      const std::size_t n = file.read(buffer_->data(), std::min<std::uint64_t>(left, buffer_->size()), files_, path);
      if (n == 0) throw_changed(files_.full_path(path));
      put({buffer_->data(), n});
      left -= n;
    }
    pad(size);
    text(")");
  }

  void texts(std::initializer_list<std::string_view> values) {
    for (const std::string_view value : values) text(value);
  }

  void text(std::string_view value) {
    number(value.size());
    put(value);
    pad(value.size());
  }

  void number(std::uint64_t value) {
    std::array<char, 8> bytes;
    for (char& byte : bytes) {
      byte = static_cast<char>(value & 0xff);
      value >>= 8;
    }
    put({bytes.data(), bytes.size()});
  }

  void pad(std::uint64_t size) {
    static constexpr std::array<char, 8> zeros{};
    put({zeros.data(), static_cast<std::size_t>((8 - size % 8) % 8)});
  }

  void put(std::string_view bytes) {
    hash_.update(bytes);
    size_ += bytes.size();
  }

  using Buffer = std::array<char, 64 << 10>;

  const StoreFiles& files_;
  image::Sha256 hash_;
  std::uint64_t size_ = 0;
  std::unique_ptr<Buffer> buffer_ = std::make_unique<Buffer>();
};

}  // namespace

NarSize::NarSize() : bytes_(words_size({magic})) {}

void NarSize::file(std::uint64_t size, bool executable) {
  bytes_ += words_size({"(", "type", "regular", "contents", ")"}) + string_size(size);
  if (executable) bytes_ += words_size({"executable", ""});
}

void NarSize::symlink(std::uint64_t target_size) {
  bytes_ += words_size({"(", "type", "symlink", "target", ")"}) + string_size(target_size);
}

void NarSize::directory() {
  bytes_ += words_size({"(", "type", "directory", ")"});
}

void NarSize::entry(std::uint64_t name_size) {
  bytes_ += words_size({"entry", "(", "name", "node", ")"}) + string_size(name_size);
}

Nar nar_of(const std::filesystem::path& root, const store::StorePath& path) {
  StoreFiles files(root);
  Hasher hasher(files);
  visit_store_path(files, path, hasher);
  return hasher.finish();
}

}  // namespace nixery::layer
