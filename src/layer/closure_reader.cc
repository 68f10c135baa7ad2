#include "layer/closure_reader.h"

#include <fmt/format.h>

#include <utility>

#include "error.h"

namespace nixery::layer {

namespace {

using Clock = std::chrono::steady_clock;

// Longer paths than a file system takes: what they name does not exist.
constexpr std::size_t max_pending = 64 << 10;

std::string_view below_store(std::string_view path) {
  return path.substr(store::store_dir.size() + 1);
}

}  // namespace

ClosureReader::ClosureReader(const std::filesystem::path& root, const store::Closure& closure, std::stop_token stop,
                             Limits limits)
    : files_(root), stop_(std::move(stop)), limits_(limits), deadline_(Clock::now() + limits.time) {
  for (const store::PathInfo& info : closure.paths) closure_.emplace(info.path.base_name());
}

void ClosureReader::check() const {
  if (stop_.stop_requested()) throw Error(Failure::unavailable, "the registry is shutting down: try again");
  if (Clock::now() >= deadline_)
    throw Error(Failure::timed_out,
                fmt::format("the packages' files could not be listed within {} s",
                            std::chrono::duration_cast<std::chrono::seconds>(limits_.time).count()));
}

std::optional<ClosureReader::Object> ClosureReader::resolve(std::string_view path) {
  return walk(std::string(store::store_dir), std::string(path), 0);
}

std::optional<ClosureReader::Object> ClosureReader::resolve_link(const std::string& link) {
  check();
  const std::size_t slash = link.rfind('/');
  std::string directory(store::store_dir);
  if (slash != link.npos) directory.append("/").append(link, 0, slash);
  return walk(std::move(directory), files_.link_target(link), 1);
}

// False if `name` of `directory`, an absolute path, is outside the closure. Else `directory` is extended by it.
bool ClosureReader::enter(std::string& directory, std::string_view name) const {
  if (directory.empty() && name != "nix") return false;
  if (directory == "/nix" && name != "store") return false;
  if (directory == store::store_dir && !closure_.contains(std::string(name))) return false;
  directory.append("/").append(name);
  return true;
}

// Follows `pending` from the real directory `at`, an absolute path ("" for the root), having followed `links` symlinks.
std::optional<ClosureReader::Object> ClosureReader::walk(std::string at, std::string pending, int links) {
  FileKind kind = FileKind::directory;
  std::size_t next = 0;  // in `pending`
  if (pending.starts_with('/')) at.clear();
  while (next < pending.size()) {
    const std::size_t end = std::min(pending.find('/', next), pending.size());
    const std::string name = pending.substr(next, end - next);
    next = end + 1;
    if (name.empty() || name == ".") continue;
    if (kind != FileKind::directory) return std::nullopt;
    if (name == "..") {
      at.resize(at.empty() ? 0 : at.rfind('/'));
      continue;
    }
    const std::size_t parent = at.size();
    if (!enter(at, name)) return std::nullopt;
    if (at.size() <= store::store_dir.size()) continue;
    const std::string path(below_store(at));
    const std::optional<FileKind> found = files_.kind_of(path);
    if (!found) return std::nullopt;
    kind = *found;
    if (kind != FileKind::symlink) continue;

    check();
    std::string target = files_.link_target(path);
    if (next < pending.size()) target.append("/").append(pending, next);
    if (++links > max_links || target.size() > max_pending) return std::nullopt;
    pending = std::move(target);
    next = 0;
    kind = FileKind::directory;
    at.resize(pending.starts_with('/') ? 0 : parent);
  }
  if (at.size() <= store::store_dir.size()) return std::nullopt;  // the store itself, or above: of no package
  return Object{std::string(below_store(at)), kind};
}

Listing ClosureReader::list(const std::string& directory) {
  check();
  Listing listing = files_.list(directory);
  entries_ += listing.size();
  if (entries_ > limits_.entries)
    throw Error(Failure::package_too_large,
                fmt::format("the packages have more than {} files in directories that they share or that an image "
                            "needs at its top, as {}",
                            limits_.entries, files_.full_path(directory)));
  return listing;
}

std::optional<std::string> ClosureReader::read(std::string_view path) {
  check();
  const std::optional<Object> object = resolve(path);
  if (!object || object->kind != FileKind::file) return std::nullopt;
  const StoreFiles::File file = files_.open(object->path);
  const auto size = static_cast<std::uint64_t>(file.info.st_size);
  if (size > limits_.file_size)
    throw Error(Failure::package_too_large, fmt::format("{} has {} bytes; at most {} are read of such a file",
                                                        files_.full_path(object->path), size, limits_.file_size));
  std::string bytes(size, '\0');
  std::size_t have = 0;
  while (have < bytes.size()) {
    const std::size_t n = file.read(bytes.data() + have, bytes.size() - have, files_, object->path);
    if (n == 0) throw_changed(files_.full_path(object->path));
    have += n;
  }
  return bytes;
}

}  // namespace nixery::layer
