#include "layer/nar.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <vector>

#include "error.h"
#include "image/digest.h"
#include "os/fd.h"
#include "os/file.h"

namespace nixery::layer {

namespace {

namespace fs = std::filesystem;

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

class Hasher {
 public:
  Hasher() { text(magic); }

  void node(const fs::path& path) {
    text("(");
    text("type");
    const fs::file_status status = fs::symlink_status(path);
    if (fs::is_directory(status)) {
      directory(path);
    } else if (fs::is_symlink(status)) {
      text("symlink");
      text("target");
      text(fs::read_symlink(path).string());
    } else if (fs::is_regular_file(status)) {
      file(path);
    } else {
      throw Error(Failure::storage, fmt::format("{} is no file, directory or symlink", path.string()));
    }
    text(")");
  }

  Nar finish() { return {hash_.finish().hex(), size_}; }

 private:
  void directory(const fs::path& path) {
    text("directory");
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(path)) names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    for (const std::string& name : names) {
      text("entry");
      text("(");
      text("name");
      text(name);
      text("node");
      node(path / name);
      text(")");
    }
  }

  void file(const fs::path& path) {
    const os::Fd fd = os::open_for_reading(path);
    struct stat info;
    if (fstat(fd.get(), &info) != 0) os::throw_errno("read", path);
    text("regular");
    if (info.st_mode & S_IXUSR) {
      text("executable");
      text("");
    }
    text("contents");
    const auto size = static_cast<std::uint64_t>(info.st_size);
    number(size);
    for (std::uint64_t left = size; left > 0;) {
      const ssize_t n = read(fd.get(), buffer_->data(), std::min<std::uint64_t>(left, buffer_->size()));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) os::throw_errno("read", path);
      if (n == 0) throw Error(Failure::corrupt, fmt::format("{} changed while it was being read", path.string()));
      put({buffer_->data(), static_cast<std::size_t>(n)});
      left -= static_cast<std::uint64_t>(n);
    }
    pad(size);
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

Nar nar_of(const fs::path& root, const store::StorePath& path) {
  Hasher hasher;
  try {
    hasher.node(root / path.str().substr(1));
  } catch (const fs::filesystem_error& error) {
    throw Error(Failure::storage, fmt::format("cannot read {}: {}", error.path1().string(), error.code().message()));
  }
  return hasher.finish();
}

}  // namespace nixery::layer
