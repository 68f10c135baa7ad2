// A store for the layer tests: generated paths below a temporary root, and functions to read archives.
#pragma once

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "image/digest.h"
#include "layer/index.h"
#include "layer/nar.h"
#include "layer/sink.h"
#include "layer/writer.h"
#include "store/closure.h"
#include "temporary_directory.h"
#include "tree/directory_store.h"
#include "tree/layout.h"

namespace nixery::test {

namespace fs = std::filesystem;

// Sanitizers take a multiple of time and memory.
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define NIXERY_SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define NIXERY_SANITIZED 1
#endif
#ifdef NIXERY_SANITIZED
inline constexpr bool sanitized = true;
#else
inline constexpr bool sanitized = false;
#endif

inline std::string read_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream bytes;
  bytes << file.rdbuf();
  return bytes.str();
}

// Bytes that compress to about half; deterministic for a seed.
inline std::string noise(std::size_t size, unsigned seed) {
  std::mt19937 random(seed);
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>('a' + random() % 16);
  return bytes;
}

// Tar in memory. `on_buffer` is called each time the sink wants another buffer.
class StringSink : public layer::Sink {
 public:
  explicit StringSink(std::size_t buffer_size = 4096) : buffer_(buffer_size) {}
  std::string bytes;
  std::function<void()> on_buffer = [] {};

 private:
  void take(std::size_t used) override { bytes.append(buffer_.data(), used); }
  std::span<char> next_buffer() override {
    on_buffer();
    return buffer_;
  }
  std::vector<char> buffer_;
};

class Store {
 public:
  // "/nix/store/<32 characters of the name's hash>-<name>", and its location below root().
  store::PathInfo info(const std::string& name, std::uint64_t nar_size = 0) const {
    std::string hash = image::Digest::of(name).hex().substr(0, 32);
    for (char& c : hash)
      if (c == 'e') c = 'x';  // not in nix's alphabet
    return {*store::StorePath::parse("/nix/store/" + hash + "-" + name),
            image::Digest::of("nar " + name).hex(),
            nar_size,
            {}};
  }
  // As Nix would register the present contents.
  store::PathInfo registered(const std::string& name) const {
    store::PathInfo path = info(name);
    const layer::Nar nar = layer::nar_of(root(), path.path);
    path.nar_hash = nar.hash;
    path.nar_size = nar.size;
    return path;
  }
  fs::path place(const std::string& name) const { return root() / info(name).path.str().substr(1); }
  fs::path root() const { return dir_.path(); }

  fs::path file(const std::string& name, const std::string& inside, const std::string& content, mode_t mode = 0444) {
    const fs::path path = inside.empty() ? place(name) : place(name) / inside;
    fs::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << content;
    chmod(path.c_str(), mode);
    return path;
  }
  void directory(const std::string& name, const std::string& inside) { fs::create_directories(place(name) / inside); }
  void symlink(const std::string& name, const std::string& inside, const std::string& target) {
    const fs::path path = place(name) / inside;
    fs::create_directories(path.parent_path());
    fs::create_symlink(target, path);
  }

 private:
  TemporaryDirectory dir_;
};

// A file tree as text, by relative name: "d 555", "f 444 <digest>", "l <target>".
inline std::map<std::string, std::string> describe(const fs::path& top, bool as_nar) {
  std::map<std::string, std::string> result;
  const auto add = [&](const fs::path& path) {
    struct stat info {};
    lstat(path.c_str(), &info);
    unsigned mode = info.st_mode & 07777u;
    if (as_nar) mode = S_ISDIR(info.st_mode) || (mode & S_IXUSR) ? 0555 : 0444;
    std::string text = S_ISDIR(info.st_mode) ? fmt::format("d {:o}", mode)
                       : S_ISLNK(info.st_mode)
                           ? "l " + fs::read_symlink(path).string()
                           : fmt::format("f {:o} {}", mode, image::Digest::of(read_file(path)).hex());
    if (!as_nar && info.st_mtime != 1 && !S_ISLNK(info.st_mode)) text += fmt::format(" mtime {}", info.st_mtime);
    result[path.lexically_relative(top).string()] = text;
  };
  add(top);
  if (fs::is_directory(fs::symlink_status(top)))
    for (const auto& entry : fs::recursive_directory_iterator(top)) add(entry.path());
  return result;
}

inline bool shell(const std::string& command) {
  return std::system(command.c_str()) == 0;
}

// Unpacked archives have read-only directories, which only root can remove unchanged.
inline void make_writable(const fs::path& dir) {
  shell(fmt::format("chmod -R u+w {}", dir.string()));
}

inline std::size_t files_below(const fs::path& dir) {
  std::size_t count = 0;
  std::error_code code;
  for (const auto& entry : fs::recursive_directory_iterator(dir, code)) count += !entry.is_directory();
  return count;
}

}  // namespace nixery::test
